#include "runtime/device_workspace.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/activation_rows.h"

namespace leafcutter::runtime {
namespace {

std::size_t padded(std::uint64_t bytes) { return static_cast<std::size_t>(round_up(bytes, offload::kDeviceAlignment)); }

// One place for sizes: what is counted is what is cut out of the memory, in this order.
struct Sizes {
  std::size_t hidden, angles, normed, q, k, gate, logits, best, groups;

  Sizes(const compress::ModelDescription& model, const DeviceWorkspaceShape& s) {
    const ModelWidths w(model);
    const auto floats = [](std::uint64_t rows, std::uint64_t width) { return padded(rows * width * sizeof(float)); };
    hidden = normed = floats(s.rows, w.dim);
    angles = floats(s.rows, w.head_dim / 2);
    q = floats(s.rows, w.heads);
    k = floats(s.rows, w.kv);
    gate = floats(s.rows, w.ff);
    logits = floats(std::min(s.rows, s.logit_rows), model.vocab_size);
    best = padded(std::min(s.rows, s.logit_rows) * kMostBest * sizeof(kernels::Ranked));
    groups = padded(kernels::activation_groups(std::max({w.dim, w.heads, w.ff})) * s.rows * sizeof(kernels::ActivationGroup));
  }

  // normed and projected, q and context, k and v, gate and up are pairs of a size. Attention and feed-forward do not share memory: what one leaves may still be read when the other is enqueued.
  std::size_t rows() const { return hidden + 2 * normed + 2 * q + 2 * k + 2 * gate; }
  std::size_t all() const { return rows() + 2 * angles + groups + logits + best; }
};

DeviceWorkspace::Lists lists_of(const DeviceWorkspaceShape& s) {
  DeviceWorkspace::Lists lists;
  const auto take = [&](std::uint64_t bytes) {
    const std::size_t at = lists.bytes;
    lists.bytes += padded(bytes);
    return at;
  };
  lists.table = take(s.rows * sizeof(offload::DeviceAttentionRow));
  lists.row_slots = take(s.rows * sizeof(std::uint32_t));
  lists.slots = take(s.sequences * s.max_positions * sizeof(std::uint32_t));
  lists.segments = take(s.sequences * s.max_positions);
  return lists;
}

}  // namespace

std::vector<offload::BufferNeed> device_workspace_needs(const compress::ModelDescription& model, const DeviceWorkspaceShape& shape) {
  return {{"workspace", Sizes(model, shape).all()}, {"lists of positions", lists_of(shape).bytes}};
}

DeviceWorkspace::DeviceWorkspace(offload::Device& device, const compress::ModelDescription& model, const DeviceWorkspaceShape& shape)
    : lists(lists_of(shape)), lists_in_host(device, lists.bytes, "lists of positions") {
  const Sizes s(model, shape);
  memory_ = offload::DeviceBuffer(device, s.all(), "workspace");
  lists_memory_ = offload::DeviceBuffer(device, lists.bytes, "lists of positions");
  lists_on_device = lists_memory_.address();
  offload::DeviceAddress at = memory_.address();
  const auto take = [&](std::size_t bytes) {
    const offload::DeviceAddress begin = at;
    at = at + bytes;
    return begin;
  };
  const auto name = [&](RowBuffer buffer, std::size_t bytes) { rows_[static_cast<std::size_t>(buffer)] = take(bytes); };
  name(RowBuffer::hidden, s.hidden);
  name(RowBuffer::normed, s.normed);
  name(RowBuffer::projected, s.normed);
  name(RowBuffer::q, s.q);
  name(RowBuffer::context, s.q);
  name(RowBuffer::k, s.k);
  name(RowBuffer::v, s.k);
  name(RowBuffer::gate, s.gate);
  name(RowBuffer::up, s.gate);
  cos = take(s.angles);
  sin = take(s.angles);
  groups = take(s.groups);
  name(RowBuffer::logits, s.logits);
  best = take(s.best);
}

}  // namespace leafcutter::runtime
