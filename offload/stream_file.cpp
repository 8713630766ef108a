#include "offload/stream_file.h"

#include "base/error.h"
#include "base/page_buffer.h"

namespace leafcutter::offload {

std::shared_ptr<File> open_for_streaming(const std::string& path) {
  std::shared_ptr<File> file = open_file(path, FileAccess::direct);
  if (!file->direct()) return file;
  const PageBuffer page(4096, "probe of direct reads");
  try {
    file->read_at(0, page.bytes());
    return file;
  } catch (const Error&) { return open_file(path, FileAccess::buffered); }
}

}  // namespace leafcutter::offload
