// A GGUF header to what `compress` takes. Bytes in, facts out; no I/O.
#pragma once

#include "compress/checkpoint_source.h"
#include "compress/gguf_header.h"

namespace leafcutter::compress {

// What the description asks for beyond the header: the values of rope_freqs.weight, when there is such a tensor (F32, read by the caller).
const GgufTensor* rope_frequencies_tensor(const GgufHeader& header);

// Model, tensors (of file 0) and notes; no tokenizer. Throws Error(unsupported | bad_file).
CheckpointSource llama_from_gguf(const GgufHeader& header, std::vector<float> rope_frequencies);

// The tokenizer of the metadata, or none with a note when it is not served.
std::optional<TokenizerData> tokenizer_from_gguf(const GgufHeader& header, std::vector<std::string>& notes);

}  // namespace leafcutter::compress
