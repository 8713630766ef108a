// Property: tokenizer.json gives data that the .leaf's section takes and gives back, and a tokenizer that encodes and decodes, or an Error.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "compress/hf_tokenizer.h"
#include "runtime/tokenizer.h"

using namespace leafcutter;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    std::vector<std::string> notes;
    const auto found = compress::tokenizer_from_json(text, nullptr, "tokenizer.json", notes);
    if (!found) {
      if (notes.empty()) std::abort();
      return 0;
    }
    const std::uint32_t tokens = static_cast<std::uint32_t>(found->tokens.size());
    runtime::Tokenizer tokenizer(compress::tokenizer_from_section(compress::to_section(*found), "section"), "tokenizer.json");
    for (const std::uint32_t id : tokenizer.encode(text.substr(0, 200)))
      if (id >= tokens) std::abort();
  } catch (const Error&) {}
  return 0;
}
