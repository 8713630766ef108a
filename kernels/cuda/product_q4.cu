// Products with 4-bit layouts.
#include "kernels/cuda/product_quantized_tile.cuh"
#include "kernels/cuda/product_rows.cuh"

namespace leafcutter::gpu {

using kernels::ProductLaunch;

GPU_KERNEL(lc_product_q4_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4, 1>(a); }
GPU_KERNEL(lc_product_q4_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4, 2>(a); }
GPU_KERNEL(lc_product_q4_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4, 4>(a); }
GPU_KERNEL(lc_product_q4_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4, 8>(a); }
GPU_KERNEL(lc_product_q4_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q4>(a); }

GPU_KERNEL(lc_product_q4_0_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_0, 1>(a); }
GPU_KERNEL(lc_product_q4_0_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_0, 2>(a); }
GPU_KERNEL(lc_product_q4_0_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_0, 4>(a); }
GPU_KERNEL(lc_product_q4_0_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_0, 8>(a); }
GPU_KERNEL(lc_product_q4_0_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q4_0>(a); }

GPU_KERNEL(lc_product_q4_1_rows1, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_1, 1>(a); }
GPU_KERNEL(lc_product_q4_1_rows2, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_1, 2>(a); }
GPU_KERNEL(lc_product_q4_1_rows4, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_1, 4>(a); }
GPU_KERNEL(lc_product_q4_1_rows8, ProductLaunch, kRowsThreads) { quantized_rows<Layout::q4_1, 8>(a); }
GPU_KERNEL(lc_product_q4_1_tile, ProductLaunch, kTileThreads) { quantized_tile<Layout::q4_1>(a); }

}  // namespace leafcutter::gpu
