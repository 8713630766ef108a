// Which files of a Hugging Face folder (or of any folder with a checkpoint and a config) hold the weights, and what tensors lie in them: safetensors and PyTorch alike.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "compress/checkpoint_source.h"

namespace leafcutter::compress {

// What BMCook leaves beside the weights of a cut model: which heads and inputs were kept. No weights.
constexpr const char* kMasksFile = "masks.pt";

struct WeightFiles {
  std::string folder;
  std::string config;              // path of config.json, else of the weights' name with .json; the file is there
  std::vector<std::string> files;  // paths, in order of name, each once
  bool torch = false;              // else safetensors
};

// path: a folder, whose model.safetensors[.index.json], else pytorch_model.bin[.index.json], else only *.pt or *.bin counts (of several the largest, with a note; without config.json
// the largest with a .json of its name); or one such file. Throws Error(not_found | bad_file) naming what is missing or which line of an index is bad.
WeightFiles find_weights(const std::string& path, std::vector<std::string>& notes);

struct WeightTensor {
  std::string name;  // as in the file
  std::size_t file = 0;
  std::optional<quant::SourceType> type;  // none: not a float type
  std::string dtype;                      // as the file has it: "BF16", "Long", ...
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  // in elements; empty: row after row
  std::uint64_t offset = 0;
};

bool is_contiguous(const WeightTensor& tensor);  // row after row without gaps

struct ListedWeights {
  std::vector<std::shared_ptr<File>> files;
  std::vector<WeightTensor> tensors;  // of all files; `file` is an index into them
};

// Adds the tensors of one file. Headers only. Throws Error(bad_file | unsupported | io) naming file, tensor, reason.
void list_tensors(const std::string& path, bool torch, ListedWeights& all, std::vector<std::string>& notes);

// Rows and columns of a vector (1 x k) or a matrix; role and layer are the caller's. Throws Error(bad_file | unsupported) naming the tensor: no float type, no such number of
// dimensions, no elements.
SourceTensor source_tensor(const WeightTensor& tensor, bool vector, const std::string& file);

}  // namespace leafcutter::compress
