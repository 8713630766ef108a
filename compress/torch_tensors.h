// The state dict in a torch pickle, and where its tensors lie in the zip around it. Values in, facts out; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/pickle_reader.h"
#include "compress/zip_directory.h"
#include "quant/ggml_blocks.h"

namespace leafcutter::compress {

struct TorchLimits {
  static constexpr std::size_t kNameBytes = 512;
  static constexpr std::size_t kDimensions = 8;
};

struct TorchTensor {
  std::string name;
  std::optional<quant::SourceType> type;  // none: not a float type
  const char* dtype = "";                 // as torch names its storage: "Half", "Long", ...
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  // in elements, one a dimension; 0 where a dimension is expanded
  std::uint64_t offset = 0;            // of element 0, from the start of the file; every element was checked to lie inside the storage
  std::uint64_t storage = 0;           // tensors with the same number share a storage
};

// What a torch pickle may name; the table for read_pickle.
std::span<const PickleGlobal> torch_globals();

// Tensors in the order of the state dict. `prefix`: the folder in the zip, with its slash; entries: sorted by name. Adds to `notes` what was left out.
// Throws Error(bad_file | unsupported) naming file, tensor, expected, found.
std::vector<TorchTensor> torch_tensors(const Pickle& pickle, std::span<const ZipEntry> entries, const std::string& prefix,
                                       const std::string& file, std::vector<std::string>& notes);

}  // namespace leafcutter::compress
