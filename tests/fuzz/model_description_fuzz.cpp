// Property: a description that is accepted is valid, and its text says the same again.
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/model_description.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ModelDescription model;
  try {
    model = model_description_from_json(std::string(reinterpret_cast<const char*>(data), size), "fuzz.leaf");
  } catch (const leafcutter::Error&) { return 0; }
  const std::string text = to_json_text(model);
  if (to_json_text(model_description_from_json(text, "again")) != text) std::abort();
  if (expected_tensors(model).empty() || parameter_count(model) == 0) std::abort();
  return 0;
}
