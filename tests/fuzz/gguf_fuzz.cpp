// Property: a GGUF header that is accepted gives tensors inside the file and a model whose description is valid, or an Error; never more.
#include <cstdlib>

#include "base/error.h"
#include "compress/gguf_model.h"
#include "compress/source_check.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto header = GgufHeader::parse(bytes, size, "fuzz.gguf");
    if (!header) std::abort();  // all of the file was there
    for (const GgufTensor& tensor : header->tensors())
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
    std::vector<std::string> notes;
    try {
      tokenizer_from_gguf(*header, notes);
    } catch (const leafcutter::Error&) {}
    std::vector<float> factors;
    if (const GgufTensor* tensor = rope_frequencies_tensor(*header)) factors.resize(std::min<std::uint64_t>(tensor->shape[0], 1024), 1.0f);
    CheckpointSource source = llama_from_gguf(*header, std::move(factors));
    validate(source.model, "fuzz.gguf");
    check_source_tensors(source, "fuzz.gguf");
    for (const SourceTensor& tensor : source.tensors)
      if (tensor.source_row(tensor.rows - 1) >= tensor.rows) std::abort();
  } catch (const leafcutter::Error&) {}
  return 0;
}
