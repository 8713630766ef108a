// Property: config.json gives a description or an Error; one that is valid can be written down and read again.
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "compress/hf_config.h"
#include "compress/json_document.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto config = parse_json_document({reinterpret_cast<const char*>(data), size}, "config.json");
    const ModelDescription model = llama_from_hf_config(config, "config.json");
    validate(model, "config.json");
    const std::string text = to_json_text(model);
    if (to_json_text(model_description_from_json(text, "again")) != text) std::abort();
  } catch (const leafcutter::Error&) {}
  return 0;
}
