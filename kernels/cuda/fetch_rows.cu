// Words along x of the grid, rows along y. A thread moves a word; a warp asks the link for 128 bytes at a place.
#include "kernels/cuda/fetch_rows_shape.h"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {

GPU_KERNEL(lc_fetch_rows, kernels::FetchRowsLaunch, kFetchThreads) {
  const std::uint64_t word = std::uint64_t{block_x()} * kFetchThreads + thread();
  if (word >= a.row_bytes / sizeof(unsigned)) return;
  const std::uint64_t row = block_y();
  at<unsigned>({a.to.value + row * a.to_stride})[word] = at<const unsigned>({a.from.value + row * a.from_stride})[word];
}

}  // namespace leafcutter::gpu
