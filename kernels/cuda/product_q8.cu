// Products with 8-bit layouts.
#include "kernels/cuda/product_quantized_tile.cuh"
#include "kernels/cuda/product_rows.cuh"

namespace leafcutter::gpu {

using kernels::ProductLaunch;

GPU_KERNEL(lc_product_q8_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8, 1>(a); }
GPU_KERNEL(lc_product_q8_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8, 2>(a); }
GPU_KERNEL(lc_product_q8_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8, 4>(a); }
GPU_KERNEL(lc_product_q8_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8, 8>(a); }
GPU_KERNEL(lc_product_q8_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q8>(a); }

GPU_KERNEL(lc_product_q8row_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8row, 1>(a); }
GPU_KERNEL(lc_product_q8row_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8row, 2>(a); }
GPU_KERNEL(lc_product_q8row_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8row, 4>(a); }
GPU_KERNEL(lc_product_q8row_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8row, 8>(a); }
GPU_KERNEL(lc_product_q8row_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q8row>(a); }

GPU_KERNEL(lc_product_q8_0_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8_0, 1>(a); }
GPU_KERNEL(lc_product_q8_0_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8_0, 2>(a); }
GPU_KERNEL(lc_product_q8_0_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8_0, 4>(a); }
GPU_KERNEL(lc_product_q8_0_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q8_0, 8>(a); }
GPU_KERNEL(lc_product_q8_0_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q8_0>(a); }

}  // namespace leafcutter::gpu
