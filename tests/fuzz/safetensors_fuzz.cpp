// Property: a header that is accepted covers the file from its end to the last byte, tensor after tensor.
#include <cstdlib>

#include "base/error.h"
#include "compress/safetensors_header.h"

using namespace leafcutter::compress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto header = std::as_bytes(std::span(data, size));
  const std::uint64_t file_bytes = 8 + size + 64;
  try {
    std::uint64_t at = 8 + size;
    for (const SafetensorsEntry& entry : parse_safetensors_header(header, file_bytes, "fuzz.safetensors")) {
      if (entry.offset != at) std::abort();
      at += entry.bytes;
    }
    if (at != file_bytes) std::abort();
  } catch (const leafcutter::Error&) {}
  return 0;
}
