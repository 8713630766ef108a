// Products with float layouts.
#include "kernels/cuda/product_float_tile.cuh"
#include "kernels/cuda/product_rows.cuh"

namespace leafcutter::gpu {

using kernels::ProductLaunch;

GPU_KERNEL(lc_product_f32_rows1, ProductLaunch, kRowsThreads) { float_rows<Layout::f32, 1>(a); }
GPU_KERNEL(lc_product_f32_rows2, ProductLaunch, kRowsThreads) { float_rows<Layout::f32, 2>(a); }
GPU_KERNEL(lc_product_f32_rows4, ProductLaunch, kRowsThreads) { float_rows<Layout::f32, 4>(a); }
GPU_KERNEL(lc_product_f32_rows8, ProductLaunch, kRowsThreads) { float_rows<Layout::f32, 8>(a); }
GPU_KERNEL(lc_product_f32_tile, ProductLaunch, kTileThreads) { float_tile<Layout::f32>(a); }

GPU_KERNEL(lc_product_f16_rows1, ProductLaunch, kRowsThreads) { float_rows<Layout::f16, 1>(a); }
GPU_KERNEL(lc_product_f16_rows2, ProductLaunch, kRowsThreads) { float_rows<Layout::f16, 2>(a); }
GPU_KERNEL(lc_product_f16_rows4, ProductLaunch, kRowsThreads) { float_rows<Layout::f16, 4>(a); }
GPU_KERNEL(lc_product_f16_rows8, ProductLaunch, kRowsThreads) { float_rows<Layout::f16, 8>(a); }
GPU_KERNEL(lc_product_f16_tile, ProductLaunch, kTileThreads) { float_tile<Layout::f16>(a); }

GPU_KERNEL(lc_product_bf16_rows1, ProductLaunch, kRowsThreads) { float_rows<Layout::bf16, 1>(a); }
GPU_KERNEL(lc_product_bf16_rows2, ProductLaunch, kRowsThreads) { float_rows<Layout::bf16, 2>(a); }
GPU_KERNEL(lc_product_bf16_rows4, ProductLaunch, kRowsThreads) { float_rows<Layout::bf16, 4>(a); }
GPU_KERNEL(lc_product_bf16_rows8, ProductLaunch, kRowsThreads) { float_rows<Layout::bf16, 8>(a); }
GPU_KERNEL(lc_product_bf16_tile, ProductLaunch, kTileThreads) { float_tile<Layout::bf16>(a); }

}  // namespace leafcutter::gpu
