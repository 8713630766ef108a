// Attention of query rows over a KV cache (Vaswani et al. 2017), grouped-query form (Ainslie et al. 2023).
//
//   score[j] = scale * (q . k[j]) + bias(q, j)      j = 0 .. visible-1
//   y = sum_j softmax(score)[j] * v[j]
//
// Query head h reads KV head h / (heads / kv_heads). Keys are walked in blocks of a fixed size in order of position, so that a row's result depends on
// its query and its visible keys alone, not on the other rows of the block, on threads or on how a prompt was cut. Sums in fp32. visible == 0 gives zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"
#include "kernels/kv_rows.h"

namespace leafcutter::kernels {

// What the distance and the segments of query and key add to a score (CPM-Ant), by columns that heads choose from. Never laid out for whole prompts: a block of keys reads a slice of one column.
//
//   same segment:   by_distance[column * distance_stride + d]       d = key's position - query's, cut to -reach .. reach; the pointer is at the first column's d = 0
//   another one:    across[(query's segment * segment_types + key's segment) * columns + column]
//
// The kBiasMargin outermost entries at either end of a column are equal: blocks beyond the reach are read there.
constexpr std::size_t kBiasMargin = 64;
struct AttentionBias {
  const float* by_distance;
  std::size_t distance_stride;  // at least 2 * reach + 1
  std::size_t reach;            // at least kBiasMargin
  const float* across;
  std::size_t segment_types, columns;
  const std::uint16_t* column;  // of each head; null: head i reads column i
};

// One query row (a token of a sequence): where its sequence's cache lies. Of KV head g, position j: k + g * head_stride + slots[j] * kv_row_bytes.
struct AttentionRow {
  const std::byte* k;
  const std::byte* v;
  std::size_t head_stride;       // bytes between KV heads, k and v alike
  std::size_t visible;           // keys 0..visible-1
  const std::uint32_t* slots;    // [visible]; null: position j lies in slot j
  const std::uint8_t* segments;  // [visible], of the keys. This and what follows is read with a bias only
  std::size_t position;
  std::uint8_t segment;
};

struct AttentionArgs {
  KvType type;
  std::size_t heads, kv_heads, head_dim;
  float scale;     // 1/sqrt(head_dim) unless the model says otherwise
  const float* q;  // row m, head h: q + m * q_stride + h * head_dim
  std::size_t q_stride;
  const AttentionRow* row;  // [rows]
  std::size_t rows;
  float* y;  // as q, y_stride
  std::size_t y_stride;
  std::size_t head_begin, head_end;  // query heads done by this call, cut at multiples of heads / kv_heads
  std::size_t row_begin, row_end;    // rows done by this call
  const AttentionBias* bias;         // null: none (LLaMA)
  float* scratch;                    // attention_scratch_floats(args) floats of this thread
};

using Attention = void (*)(const AttentionArgs&);

// Upper bound for any call with this head_dim, heads/kv_heads = group; independent of the context's length.
std::size_t attention_scratch_floats(std::size_t head_dim, std::size_t group);

Attention attention_kernel(Isa isa);
void attention_reference(const AttentionArgs&);  // double

}  // namespace leafcutter::kernels
