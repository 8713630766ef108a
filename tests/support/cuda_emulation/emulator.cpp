#include "tests/support/cuda_emulation/emulator.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>

#include "kernels/cuda/launch_shape.h"
#include "tests/support/cuda_emulation/block.h"

namespace leafcutter::gpu::emulation {
namespace {

const Registration* find(std::string_view name) {
  for (const Registration* kernel = Registration::first; kernel; kernel = kernel->next)
    if (name == kernel->name) return kernel;
  return nullptr;
}

void check(bool fine, std::string_view kernel, const char* what) {
  if (!fine) throw std::runtime_error(std::string(kernel) + ": " + what);
}

}  // namespace

std::optional<Kernel> find_kernel(std::string_view name) {
  const Registration* kernel = find(name);
  if (!kernel) return std::nullopt;
  return Kernel{kernel->name, kernel->argument_bytes, kernel->most_threads};
}

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all;
  for (const Registration* kernel = Registration::first; kernel; kernel = kernel->next)
    all.push_back({kernel->name, kernel->argument_bytes, kernel->most_threads});
  return all;
}

void run_kernel(std::string_view name, const std::uint32_t grid[3], std::uint32_t threads, std::uint32_t shared_bytes,
                const void* arguments, const Options& options) {
  const Registration* kernel = find(name);
  check(kernel != nullptr, name, "there is no such kernel");
  check(grid[0] > 0 && grid[1] > 0 && grid[2] > 0, name, "a grid without blocks cannot be launched");
  check(grid[0] <= kMostGridX && grid[1] <= kMostGridYz && grid[2] <= kMostGridYz, name, "the grid has more blocks than a card takes");
  check(threads > 0 && threads % 32 == 0 && threads <= kMostThreads, name, "a block has whole warps, at most 1024 threads");
  check(threads <= kernel->most_threads, name, "more threads than the kernel was compiled for");
  check(shared_bytes <= kMostSharedBytes, name, "more shared memory than a block has");

  BlockRunner& runner = BlockRunner::of_this_host_thread();
  runner.begin_launch(*kernel, arguments, threads, shared_bytes, options);
  position.threads = threads;
  std::copy(grid, grid + 3, position.grid);
  const std::uint64_t blocks = std::uint64_t{grid[0]} * grid[1] * grid[2];
  std::vector<std::uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  if (options.order == ThreadOrder::reverse) std::reverse(order.begin(), order.end());
  if (options.order == ThreadOrder::random) std::shuffle(order.begin(), order.end(), std::mt19937(options.seed));
  for (const std::uint64_t b : order) {
    const std::uint32_t block[3] = {static_cast<std::uint32_t>(b % grid[0]), static_cast<std::uint32_t>(b / grid[0] % grid[1]),
                                    static_cast<std::uint32_t>(b / grid[0] / grid[1])};
    runner.run(block);
  }
  runner.end_launch();
}

}  // namespace leafcutter::gpu::emulation
