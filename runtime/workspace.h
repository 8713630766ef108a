// Buffers of one step, sized for its rows once, and how many bytes they take before they are made.
#pragma once

#include <cstdint>
#include <span>
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

struct WorkspaceShape {
  std::uint64_t rows = 0;       // of a block: what goes through one operation together
  std::uint64_t pass_rows = 0;  // of a pass over the layers, at least `rows`
  std::size_t threads = 1;
  bool f32_activations = false;  // quantized weights are decoded strip by strip
};

// Names and bytes of what Workspace will allocate.
std::vector<offload::BufferNeed> workspace_needs(const compress::ModelDescription& model, const WorkspaceShape& shape);

// Of the attention part and the feed-forward part only one is alive at a time, so that their buffers share memory; what a part adds to the residual stream takes the place of its normed input.
class Workspace {
 public:
  Workspace(const compress::ModelDescription& model, const WorkspaceShape& shape);

  std::uint64_t rows = 0, pass_rows = 0;
  float* hidden = nullptr;                     // [pass_rows][dim]: the residual stream
  float* cos = nullptr;                        // [pass_rows][head_dim / 2]
  float* sin = nullptr;                        //
  float* normed = nullptr;                     // [rows][dim]
  float* projected = nullptr;                  // [rows][dim]: what a part adds; the same memory as normed
  float* q = nullptr;                          // [rows][heads]
  float* k = nullptr;                          // [rows][kv]
  float* v = nullptr;                          // [rows][kv]
  float* context = nullptr;                    // [rows][heads]: what attention gives
  float* gate = nullptr;                       // [rows][ff]; the same memory as q and what follows it
  float* up = nullptr;                         // [rows][ff]
  kernels::ActivationGroup* groups = nullptr;  // records of the widest input
  kernels::AttentionRow* attention = nullptr;  // [rows]
  float* scratch(std::size_t thread) const { return scratch_ + thread * scratch_floats_; }
  float* decoded(std::size_t thread) const { return decoded_ + thread * decoded_floats_; }  // two strips of the widest input
  ModelWidths widths;
  std::span<std::byte> bytes() const { return buffer_.bytes(); }  // all of it

 private:
  PageBuffer buffer_;
  float *scratch_ = nullptr, *decoded_ = nullptr;
  std::size_t scratch_floats_ = 0, decoded_floats_ = 0;
};

}  // namespace leafcutter::runtime
