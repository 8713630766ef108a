// Runs the kernels of kernels/cuda on the host, thread by thread, in a chosen order: what is right must not depend on it. Besides the answer it finds what a GPU would do silently: a barrier or a function of the
// warp that not all threads reach, threads that wait for each other for ever, too much shared memory, misaligned loads. Shared memory is full of NaN (-1 as a whole number) until a kernel writes it.
// With AddressSanitizer, accesses outside of shared memory are found too; with ThreadSanitizer, missing barriers (races), within a block and among blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace leafcutter::gpu::emulation {

enum class ThreadOrder : std::uint8_t { forward, reverse, random };  // of threads that could all run; blocks go in that order, too

struct Options {
  ThreadOrder order = ThreadOrder::forward;
  unsigned seed = 1;  // of ThreadOrder::random
};

struct Kernel {
  const char* name = "";
  std::size_t argument_bytes = 0;
  unsigned most_threads = 0;  // of a block
};
std::optional<Kernel> find_kernel(std::string_view name);
std::vector<Kernel> all_kernels();

// Throws std::runtime_error that names the kernel, block, warp and what is wrong. Memory that the kernel wrote until then stays written. May be called by several host threads at a time.
void run_kernel(std::string_view name, const std::uint32_t grid[3], std::uint32_t threads, std::uint32_t shared_bytes,
                const void* arguments, const Options& options = {});

}  // namespace leafcutter::gpu::emulation
