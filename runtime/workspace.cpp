#include "runtime/workspace.h"

#include <algorithm>

#include "base/checked.h"

namespace leafcutter::runtime {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t padded(std::size_t bytes) { return static_cast<std::size_t>(round_up(bytes, kAlignment)); }

// One place for sizes: what is counted is what is cut out of the buffer, in this order.
struct Sizes {
  std::size_t hidden, normed, projected, q, k, v, context, gate, up, cos, sin, groups, attention, scratch;

  Sizes(const ModelWidths& w, std::uint64_t rows, std::size_t threads) {
    const auto floats = [&](std::size_t width) { return padded(rows * width * sizeof(float)); };
    hidden = normed = projected = floats(w.dim);
    q = context = floats(w.heads);
    k = v = floats(w.kv);
    gate = up = floats(w.ff);
    cos = sin = floats(w.head_dim / 2);
    groups = padded(kernels::activation_groups(std::max({w.dim, w.heads, w.ff})) * rows * sizeof(kernels::ActivationGroup));
    attention = padded(rows * sizeof(kernels::AttentionRow));
    scratch = threads * padded(kernels::attention_scratch_floats(std::max<std::size_t>(w.head_dim, 1), w.group) * sizeof(float));
  }
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

std::vector<offload::BufferNeed> workspace_needs(const compress::ModelDescription& model, std::uint64_t rows, std::size_t threads) {
  const Sizes s(ModelWidths(model), rows, threads);
  return {{"workspace: hidden rows", s.hidden + s.normed + s.projected},
          {"workspace: attention", s.q + s.k + s.v + s.context + s.cos + s.sin + s.attention + s.scratch},
          {"workspace: feed-forward", s.gate + s.up},
          {"workspace: int8 rows", s.groups}};
}

Workspace::Workspace(const compress::ModelDescription& model, std::uint64_t all_rows, std::size_t threads) : rows(all_rows), widths(model) {
  const Sizes s(widths, rows, threads);
  buffer_ = PageBuffer(
      s.hidden + s.normed + s.projected + s.q + s.k + s.v + s.context + s.gate + s.up + s.cos + s.sin + s.groups + s.attention + s.scratch,
      "workspace");
  std::byte* at = buffer_.data();
  const auto take = [&](std::size_t bytes) {
    std::byte* begin = at;
    at += bytes;
    return begin;
  };
  const auto floats = [&](std::size_t bytes) { return reinterpret_cast<float*>(take(bytes)); };
  hidden = floats(s.hidden);
  normed = floats(s.normed);
  projected = floats(s.projected);
  q = floats(s.q);
  k = floats(s.k);
  v = floats(s.v);
  context = floats(s.context);
  gate = floats(s.gate);
  up = floats(s.up);
  cos = floats(s.cos);
  sin = floats(s.sin);
  groups = reinterpret_cast<kernels::ActivationGroup*>(take(s.groups));
  attention = reinterpret_cast<kernels::AttentionRow*>(take(s.attention));
  scratch_ = floats(s.scratch);
  scratch_floats_ = s.scratch / threads / sizeof(float);
}

}  // namespace leafcutter::runtime
