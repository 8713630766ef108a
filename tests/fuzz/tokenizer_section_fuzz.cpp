// Property: a section that is accepted is the only one that says what it says.
#include <algorithm>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "compress/tokenizer_data.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto section = std::as_bytes(std::span(data, size));
  leafcutter::compress::TokenizerData tokenizer;
  try {
    tokenizer = leafcutter::compress::tokenizer_from_section(section, "fuzz.leaf");
  } catch (const leafcutter::Error&) { return 0; }
  if (!std::ranges::equal(to_section(tokenizer), section)) std::abort();
  return 0;
}
