// Blocks of the kernels of attend.cu.
#pragma once

#include "kernels/cuda/kv_row_shape.h"
#include "kernels/device_launch.h"

namespace leafcutter::gpu {

constexpr unsigned kAttendWarps = 8, kAttendThreads = kAttendWarps * 32;
constexpr unsigned kAttendKeys = 32;    // of a block of keys: one for each lane
constexpr unsigned kAttendQueries = 8;  // that share keys, in the kernels for several
constexpr unsigned kAttendSlice = 256;  // outputs of a block of threads in the kernels for any head dimension
constexpr unsigned kAttendPitch =
    kKvChunkBytes + 16;  // of a key in shared memory: without bank conflicts, and with room for the scales of a q8 chunk
constexpr unsigned kAttendStageBytes = kAttendKeys * kAttendPitch;  // of a warp
constexpr unsigned kAttendOwnBytes = 1024;                          // of static shared memory, at most
constexpr unsigned kAttendMostHeadDim = 1024;
constexpr unsigned kMostRowsAlone = 8;  // so many rows have blocks of their own each; of more, neighbours share keys

// Query floats of a head in shared memory: zeros behind the last one.
constexpr unsigned attend_query_floats(unsigned head_dim) { return (head_dim + 31) / 32 * 32; }

// Queries of one KV head, counted row by row, are cut into spans, and a span into tiles of a block of threads each.
struct AttendTiles {
  std::uint64_t spans, queries, tiles;  // queries, tiles: of a span
};
constexpr AttendTiles attend_tiles(const kernels::AttendLaunch& a, unsigned queries_a_tile) {
  const std::uint64_t group = a.heads / a.kv_heads;
  const bool alone = a.rows <= kMostRowsAlone;
  const std::uint64_t spans = alone ? a.rows : 1, queries = alone ? group : a.rows * group;
  return {spans, queries, (queries + queries_a_tile - 1) / queries_a_tile};
}

}  // namespace leafcutter::gpu
