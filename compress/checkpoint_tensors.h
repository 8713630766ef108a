// The tensors of weight files of other programs, whatever the container: name, type, shape and place. Headers only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "quant/ggml_blocks.h"

namespace leafcutter::compress {

struct CheckpointTensor {
  std::string name;
  std::size_t file = 0;                   // index into CheckpointFiles::files
  std::uint64_t offset = 0;               // of element 0; a contiguous tensor was checked to lie inside the file
  std::optional<quant::SourceType> type;  // none: not a float type
  std::string dtype;                      // as the file calls it
  std::vector<std::uint64_t> shape;
  bool contiguous = true;  // row-major without gaps
};

struct CheckpointFiles {
  std::vector<std::shared_ptr<File>> files;
  std::vector<CheckpointTensor> tensors;
  std::vector<std::string> notes;
};

// Adds a .safetensors file, or a PyTorch zip under any other name. Throws Error(bad_file | unsupported | io) naming file and tensor.
void add_checkpoint_file(const std::filesystem::path& path, CheckpointFiles& all);

}  // namespace leafcutter::compress
