// Sizes that all instruction sets of attention share, and their entry points.
#pragma once

#include <cstddef>

#include "kernels/attention.h"

namespace leafcutter::kernels {

constexpr std::size_t kKeyBlock = 64;  // keys of one block; the same everywhere, since the order of sums depends on it
constexpr std::size_t kQueryBlock =
    128;  // queries that share a block of keys, which is turned once for all of them: their sums stay in the second-level cache
constexpr std::size_t kQueryTile = 4;  // queries in registers together

constexpr std::size_t padded_head_dim(std::size_t head_dim) { return (head_dim + kKvGroup - 1) / kKvGroup * kKvGroup; }

void attention_portable(const AttentionArgs& args);
void attention_avx2(const AttentionArgs& args);
void attention_avx512(const AttentionArgs& args);

}  // namespace leafcutter::kernels
