// The header of a safetensors file: which tensor lies where. Bytes in, facts out; no I/O.
//
// Layout: u64 length of the header (little endian), the header (JSON object, name -> {dtype, shape, data_offsets}), the data.
// Source: the format description of huggingface/safetensors, whose rules are enforced: offsets contiguous from 0, no hole, no overlap,
// length = shape x dtype, no duplicate name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace leafcutter::compress {

struct SafetensorsLimits {
  static constexpr std::uint64_t kHeaderBytes =
      4u << 20;  // some 20,000 tensors; the format allows 100 MB, which would cost gigabytes to parse
  static constexpr std::size_t kTensors = 65'536;
  static constexpr std::size_t kDimensions = 8;
};

struct SafetensorsEntry {
  std::string name;
  std::string dtype;                 // as written: "F16", "BF16", ...
  std::vector<std::uint64_t> shape;  // product * size of dtype == bytes, checked
  std::uint64_t offset;              // from the start of the file
  std::uint64_t bytes;
};

// How long the header is, from the first 8 bytes. Throws Error(bad_file) naming `file`.
std::uint64_t safetensors_header_bytes(std::span<const std::byte, 8> first, std::uint64_t file_bytes, const std::string& file);

// The entries in file order. `header` is exactly the JSON; `file_bytes` the whole file's size. Throws Error naming file, tensor and the reason.
// Allocates at most a small multiple of header.size(). Thread-safe.
std::vector<SafetensorsEntry> parse_safetensors_header(std::span<const std::byte> header, std::uint64_t file_bytes,
                                                       const std::string& file);

}  // namespace leafcutter::compress
