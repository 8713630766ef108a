// What lies around a product of many rows that a library makes (offload/cublas_products.h): weights and rows as it takes them, and what is left to do with what it gives.
#include "kernels/cuda/library_product_shape.h"
#include "kernels/cuda/port.h"

namespace leafcutter::gpu {

// Blocks: 32 k along x, 4 strips along y. A thread moves half a line.
GPU_KERNEL(lc_unpack_strips, kernels::UnpackStripsLaunch, kUnpackThreads) {
  constexpr unsigned kLineBytes = 2 * kernels::kStripRows, kPiece = 16, kPieces = kLineBytes / kPiece, kOfStrip = kWarp / kUnpackStrips;
  const std::uint64_t line = std::uint64_t{block_x()} * kUnpackLines + warp() * (kOfStrip / kPieces) + lane() % kOfStrip / kPieces;
  const std::uint64_t strip = std::uint64_t{block_y()} * kUnpackStrips + lane() / kOfStrip;
  if (line >= a.k || strip >= a.strips) return;
  const std::uint64_t strip_bytes = (a.k + a.k % 2) * kLineBytes;  // whole lines of 64 bytes
  const unsigned piece = lane() % kPieces * kPiece;
  const U4 halves = load16(at<const unsigned char>(a.weights) + strip * strip_bytes + line * kLineBytes + piece);
  *reinterpret_cast<U4*>(at<unsigned char>(a.out) + (line * a.strips + strip) * kLineBytes + piece) = halves;
}

// One block a row, which it reads twice.
GPU_KERNEL(lc_halve_rows, kernels::HalveRowsLaunch, kHalveThreads) {
  GPU_SHARED(float, warp_largest, kHalveThreads / kWarp);
  const float* x = at<float>(a.x) + block_x() * a.x_stride;
  std::uint16_t* halves = at<std::uint16_t>(a.halves) + block_x() * a.k;

  float largest = 0;
  for (std::uint64_t i = thread(); i < a.k; i += kHalveThreads) largest = max(largest, absolute(x[i]));
  largest = warp_max(largest);
  if (lane() == 0) warp_largest[warp()] = largest;
  sync_block();
  for (unsigned w = 0; w < kHalveThreads / kWarp; w++) largest = max(largest, warp_largest[w]);

  // Powers of two are made of their exponents, which have a bias of 127. The largest value is to have that of 2^14; of rows of zeros and of what is not finite nothing is changed.
  constexpr unsigned kBias = 127, kMantissaBits = 23, kWanted = 14, kNotFinite = 255;
  unsigned exponent = bits_of(largest) >> kMantissaBits;
  if (largest == 0 || exponent == kNotFinite) exponent = kBias + kWanted;
  exponent = max(exponent, kWanted + 1);  // the scale stays a normal number
  const float inverse = float_of((2 * kBias + kWanted - exponent) << kMantissaBits);
  for (std::uint64_t i = thread(); i < a.k; i += kHalveThreads) halves[i] = float_to_half(x[i] * inverse);
  if (thread() == 0) at<float>(a.scales)[block_x()] = float_of((exponent - kWanted) << kMantissaBits);
}

// Rows along x of the grid, outputs along y. A thread a value.
GPU_KERNEL(lc_finish_rows, kernels::FinishRowsLaunch, kFinishThreads) {
  const std::uint64_t output = std::uint64_t{block_y()} * kFinishThreads + thread();
  if (output >= a.outputs) return;
  float& y = at<float>(a.y)[block_x() * a.y_stride + output];
  y = y * (at<float>(a.scales)[block_x()] * a.factor) + (a.bias.value ? at<float>(a.bias)[output] : 0);
}

}  // namespace leafcutter::gpu
