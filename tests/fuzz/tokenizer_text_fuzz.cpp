// Property: a section that is accepted gives a tokenizer whose ids are tokens, whatever the text, or an Error. The first two bytes say how long the section is; the rest is text.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/error.h"
#include "runtime/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t section = std::min<std::size_t>(data[0] | data[1] << 8, size - 2);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2 + section, size - 2 - section);
  try {
    auto read = leafcutter::compress::tokenizer_from_section(std::as_bytes(std::span(data + 2, section)), "fuzz.leaf");
    const std::size_t tokens = read.tokens.size();
    const leafcutter::runtime::Tokenizer tokenizer(std::move(read), "fuzz.leaf");
    for (const bool special : {false, true}) {
      const auto ids = tokenizer.encode(text, special);
      for (const std::uint32_t id : ids)
        if (id >= tokens) std::abort();
      tokenizer.decode(ids, special);
    }
  } catch (const leafcutter::Error&) {}
  return 0;
}
