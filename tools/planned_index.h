// MODEL of `plan`: a .leaf, a checkpoint (headers only) or a shape's name; nothing is downloaded or loaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/leaf_index.h"
#include "runtime/tokenizer.h"

namespace leafcutter::tools {

struct PlannedIndex {
  compress::LeafIndex index;
  std::unique_ptr<runtime::Tokenizer> tokenizer;  // null: none
  std::string what;                               // "smollm2.leaf", "the shape llama-48x4096 as q4"
  std::string disk_file;                          // a file on the disk that would be read; empty: none is there
};

// format is used for checkpoints and shapes; empty: q4.
PlannedIndex index_to_plan(const std::string& model, const std::string& format);

// Is MODEL a .leaf, whose formats are what they are?
bool has_formats(const std::string& model);

// The formats that a sweep compares: those wanted, separated by commas; by default a .leaf's own, and of anything else those that people choose between.
std::vector<std::string> formats_of(const std::string& model, const std::string& wanted);

}  // namespace leafcutter::tools
