#include "runtime/workspace.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/strip_layout.h"

namespace leafcutter::runtime {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t padded(std::size_t bytes) { return static_cast<std::size_t>(round_up(bytes, kAlignment)); }

// One place for sizes: what is counted is what is cut out of the buffer, in this order.
struct Sizes {
  std::size_t hidden, angles, normed, q, k, context, attention_part, gate, feed_forward_part, groups, row_records, scratch, decoded;

  Sizes(const ModelWidths& w, const WorkspaceShape& s) {
    const std::size_t widest = std::max({w.dim, w.heads, w.ff});
    const auto floats = [](std::uint64_t rows, std::size_t width) { return padded(rows * width * sizeof(float)); };
    hidden = floats(s.pass_rows, w.dim);
    angles = floats(s.pass_rows, w.head_dim / 2);
    normed = floats(s.rows, w.dim);
    q = context = floats(s.rows, w.heads);
    k = floats(s.rows, w.kv);
    attention_part = q + 2 * k + context;
    gate = floats(s.rows, w.ff);
    feed_forward_part = 2 * gate;
    groups = s.f32_activations ? 0 : padded(kernels::activation_groups(widest) * s.rows * sizeof(kernels::ActivationGroup));
    row_records = padded(s.rows * sizeof(kernels::AttentionRow));
    scratch = s.threads * padded(kernels::attention_scratch_floats(std::max<std::size_t>(w.head_dim, 1), w.group) * sizeof(float));
    decoded = s.f32_activations ? s.threads * floats(2 * kernels::kStripRows, widest) : 0;
  }

  std::size_t parts() const { return std::max(attention_part, feed_forward_part); }
  std::size_t all() const { return hidden + 2 * angles + normed + parts() + groups + row_records + scratch + decoded; }
};

}  // namespace

ModelWidths::ModelWidths(const compress::ModelDescription& model) : dim(model.dim) {
  for (const compress::LayerDescription& layer : model.layers) {
    if (layer.has_attention) {
      heads = std::max(heads, std::size_t{layer.heads} * layer.head_dim);
      kv = std::max(kv, std::size_t{layer.kv_heads} * layer.head_dim);
      head_dim = std::max<std::size_t>(head_dim, layer.head_dim);
      group = std::max<std::size_t>(group, layer.heads / std::max(layer.kv_heads, 1u));
    }
    if (layer.has_feed_forward) ff = std::max<std::size_t>(ff, layer.ff_width);
  }
}

std::vector<offload::BufferNeed> workspace_needs(const compress::ModelDescription& model, const WorkspaceShape& shape) {
  const Sizes s(ModelWidths(model), shape);
  std::vector<offload::BufferNeed> needs = {{"workspace: hidden rows", s.hidden + 2 * s.angles + s.normed},
                                            {"workspace: attention or feed-forward", s.parts() + s.row_records + s.scratch},
                                            {"workspace: int8 rows", s.groups}};
  if (s.decoded > 0) needs.push_back({"workspace: decoded weights", s.decoded});
  return needs;
}

Workspace::Workspace(const compress::ModelDescription& model, const WorkspaceShape& shape)
    : rows(shape.rows), pass_rows(shape.pass_rows), widths(model) {
  const Sizes s(widths, shape);
  buffer_ = PageBuffer(s.all(), "workspace");
  std::byte* at = buffer_.data();
  const auto take = [&](std::size_t bytes) {
    std::byte* begin = at;
    at += bytes;
    return begin;
  };
  const auto floats = [&](std::size_t bytes) { return reinterpret_cast<float*>(take(bytes)); };
  hidden = floats(s.hidden);
  cos = floats(s.angles);
  sin = floats(s.angles);
  normed = projected = floats(s.normed);
  std::byte* parts = take(s.parts());
  q = reinterpret_cast<float*>(parts);
  k = reinterpret_cast<float*>(parts + s.q);
  v = reinterpret_cast<float*>(parts + s.q + s.k);
  context = reinterpret_cast<float*>(parts + s.q + 2 * s.k);
  gate = reinterpret_cast<float*>(parts);
  up = reinterpret_cast<float*>(parts + s.gate);
  groups = reinterpret_cast<kernels::ActivationGroup*>(take(s.groups));
  attention = reinterpret_cast<kernels::AttentionRow*>(take(s.row_records));
  scratch_ = floats(s.scratch);
  scratch_floats_ = s.scratch / shape.threads / sizeof(float);
  decoded_ = floats(s.decoded);
  decoded_floats_ = s.decoded / shape.threads / sizeof(float);
}

}  // namespace leafcutter::runtime
