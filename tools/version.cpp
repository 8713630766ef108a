#include "tools/version.h"

#include <fmt/format.h>

#include "compress/leaf_index.h"

namespace leafcutter::tools {

std::string version_text() {
  const std::string commit = LEAFCUTTER_COMMIT;
  return fmt::format("leafcutter {} (commit {}, file format {}, compiler {})", LEAFCUTTER_VERSION, commit.empty() ? "unknown" : commit,
                     compress::kFormatVersion, __VERSION__);
}

}  // namespace leafcutter::tools
