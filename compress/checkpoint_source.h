// A checkpoint of another program, seen as roles and rows: what importers give and `compress` takes. Adding a format is one importer; adding an architecture is one name table.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "compress/model_description.h"
#include "compress/tensor_role.h"
#include "compress/tokenizer_data.h"
#include "quant/ggml_blocks.h"

namespace leafcutter::compress {

// Where value (row, column) of a matrix that does not lie row after row is: row * this row + column * this column values behind its offset. 0: an expanded dimension.
struct SourceStrides {
  std::uint64_t row = 0, column = 0;
};

// One tensor of the model as rows x k of a file. Output row i of the model is source row source_row(i).
struct SourceTensor {
  TensorRole role{};
  std::uint32_t layer = 0;
  std::string name;          // in the checkpoint, for messages
  std::size_t file = 0;      // index into files
  std::uint64_t offset = 0;  // of source row 0; the whole tensor was checked to lie inside the file
  quant::SourceType type{};
  std::uint64_t rows = 0, k = 0;
  float divisor = 1;
  std::optional<SourceStrides> strides;  // none: row after row. Of float types only
  std::uint32_t rope_heads = 0;          // > 0: rows were permuted for interleaved rotary pairs by the GGUF converter; undone by source_row

  std::uint64_t source_row(std::uint64_t row) const;
};

struct CheckpointSource {
  ModelDescription model;
  std::vector<std::shared_ptr<File>> files;
  std::vector<SourceTensor> tensors;       // complete: every tensor that the description asks for is here, shapes checked
  std::optional<TokenizerData> tokenizer;  // none: the model compresses and runs on ids
  std::vector<std::string> notes;          // one line each, for people: what was ignored, resolved or looks odd
};

struct CheckpointOptions {
  std::string jieba_folder = {};  // of an installed jieba, for CPM-Ant's tokenizer; empty: the usual places are looked at
  // CPM-Ant cut by BMCook: divide by the root of the widths before the cut, as in its training, instead of those of the file, as CPM-Live does.
  bool uncut_divisors = false;
};

// path: a .gguf file, a safetensors or PyTorch file with its config beside it, or the folder of such files (Hugging Face's or CPM-Live's form). Reads headers only. Throws Error naming
// file, tensor, expected, found.
CheckpointSource open_checkpoint(const std::string& path, const CheckpointOptions& options = {});

// What open_checkpoint may read with these options, sorted: weights, configs, tokenizers, masks, and jieba's tables where it would look at them. Files beside them that look the same are in it, too.
std::vector<std::string> files_of_checkpoint(const std::string& path, const CheckpointOptions& options = {});

// Is this path something that open_checkpoint would take (rather than a .leaf)? Looks at the kind of the path and the first bytes only.
bool looks_like_checkpoint(const std::string& path);

}  // namespace leafcutter::compress
