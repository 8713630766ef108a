// Buffers of one step, sized for its rows once, and how many bytes they take before they are made.
#pragma once

#include <cstdint>
#include <vector>

#include "base/page_buffer.h"
#include "compress/model_description.h"
#include "kernels/activation_rows.h"
#include "kernels/attention.h"
#include "offload/step_program.h"

namespace leafcutter::runtime {

// Largest widths over all layers.
struct ModelWidths {
  std::size_t dim = 0, heads = 0, kv = 0, ff = 0;  // heads, kv: heads * head_dim
  std::size_t head_dim = 0, group = 1;
  explicit ModelWidths(const compress::ModelDescription& model);
};

// Names and bytes of what Workspace will allocate.
std::vector<offload::BufferNeed> workspace_needs(const compress::ModelDescription& model, std::uint64_t rows, std::size_t threads);

class Workspace {
 public:
  Workspace(const compress::ModelDescription& model, std::uint64_t rows, std::size_t threads);

  std::uint64_t rows = 0;
  float* hidden = nullptr;     // [rows][dim]: the residual stream
  float* normed = nullptr;     // [rows][dim]
  float* projected = nullptr;  // [rows][dim]: what a part adds to the residual stream
  float* q = nullptr;          // [rows][heads]
  float* k = nullptr;          // [rows][kv]
  float* v = nullptr;          // [rows][kv]
  float* context = nullptr;    // [rows][heads]: what attention gives
  float* gate = nullptr;       // [rows][ff]
  float* up = nullptr;         // [rows][ff]
  float* cos = nullptr;        // [rows][head_dim / 2]
  float* sin = nullptr;
  kernels::ActivationGroup* groups = nullptr;  // records of the widest input
  kernels::AttentionRow* attention = nullptr;  // [rows]
  float* scratch(std::size_t thread) const { return scratch_ + thread * scratch_floats_; }
  ModelWidths widths;

 private:
  PageBuffer buffer_;
  float* scratch_ = nullptr;
  std::size_t scratch_floats_ = 0;
};

}  // namespace leafcutter::runtime
