// What the emulator is there to find: kernels with a mistake each.
#define LEAFCUTTER_CUDA_EMULATION
#include "tests/support/cuda_emulation/emulator.h"

#include <doctest/doctest.h>

#include <cmath>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cuda/port.h"
#include "tests/kernels/cuda/emulated.h"
#include "tests/support/sanitized.h"

using namespace leafcutter::gpu;

namespace {

struct TestLaunch {
  int* out = nullptr;
  int n = 0;
};

}  // namespace

// In steps of a tree: each of them needs its barrier.
GPU_KERNEL(test_reverse_and_sum, TestLaunch, 256) {
  GPU_SHARED(int, values, 256);
  GPU_DYNAMIC_SHARED(int, turned);
  const unsigned t = thread();
  values[t] = static_cast<int>(t + block_x());
  sync_block();
  turned[t] = values[threads() - 1 - t];
  sync_block();
  for (unsigned half = threads() / 2; half > 0; half /= 2) {
    if (t < half) values[t] += values[t + half];
    sync_block();
  }
  int* out = a.out + (block_x() + grid_x() * (block_y() + grid_y() * block_z())) * (threads() + 1);
  out[t] = turned[t];
  if (t == 0) out[threads()] = values[0];
}

GPU_KERNEL(test_no_barrier, TestLaunch, 256) {
  GPU_SHARED(int, values, 256);
  values[thread()] = static_cast<int>(thread());
  a.out[thread()] = values[threads() - 1 - thread()];
}

GPU_KERNEL(test_lanes, TestLaunch, 64) {
  const int mine = static_cast<int>(thread());
  int* out = a.out + thread() * 4;
  out[0] = shuffle_xor(mine, 5);
  out[1] = static_cast<int>(shuffle(static_cast<float>(mine), 3));
  out[2] = any(thread() == 40);
  out[3] = warp_sum(mine);
}

GPU_KERNEL(test_barrier_of_some, TestLaunch, 128) {
  if (thread() < 64) sync_block();
  a.out[thread()] = 1;
}

GPU_KERNEL(test_two_barriers, TestLaunch, 64) {
  if (warp() == 0)
    sync_block();
  else
    sync_block();
  a.out[thread()] = 1;
}

GPU_KERNEL(test_missing_lane, TestLaunch, 32) {
  if (lane() != 5) a.out[thread()] = shuffle_xor(1, 1);
}

GPU_KERNEL(test_different_meetings, TestLaunch, 32) {
  if (lane() < 16)
    a.out[thread()] = shuffle_xor(1, 1);
  else
    sync_warp();
}

GPU_KERNEL(test_lane_32, TestLaunch, 32) { a.out[thread()] = shuffle(1, 32); }

GPU_KERNEL(test_wait_for_each_other, TestLaunch, 64) {
  if (thread() < 48) sync_block();
  a.out[thread()] = shuffle_xor(1, 1);
  if (thread() >= 48) sync_block();
}

GPU_KERNEL(test_too_much_shared, TestLaunch, 32) {
  GPU_SHARED(int, values, 12288);
  values[thread()] = 1;
}

GPU_KERNEL(test_misaligned, TestLaunch, 32) { a.out[thread()] = static_cast<int>(load16(a.out + 1).x); }

GPU_KERNEL(test_unwritten, TestLaunch, 32) {
  GPU_SHARED(float, values, 32);
  GPU_DYNAMIC_SHARED(int, numbers);
  a.out[thread()] = values[thread()] != values[thread()] ? numbers[thread()] : 0;
  values[thread()] = 1;
  numbers[thread()] = 1;
}

namespace {

constexpr std::uint32_t kOneBlock[3] = {1, 1, 1};

[[maybe_unused]] std::string problem_of(const char* kernel, std::uint32_t threads, const emulation::Options& options,
                                        std::uint32_t shared_bytes = 0) {
  alignas(16) int out[1024] = {};
  const TestLaunch launch{out, 0};
  try {
    emulation::run_kernel(kernel, kOneBlock, threads, shared_bytes, &launch, options);
  } catch (const std::runtime_error& error) { return error.what(); }
  return "";
}

[[maybe_unused]] bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void run_reverse_and_sum(const emulation::Options& options) {
  const std::uint32_t grid[3] = {3, 2, 2};
  std::vector<int> out(12 * 257, -7);
  const TestLaunch launch{out.data(), 0};
  emulation::run_kernel("test_reverse_and_sum", grid, 256, 256 * sizeof(int), &launch, options);
  for (int block = 0; block < 12; block++) {
    const int x = block % 3;
    for (int t = 0; t < 256; t++) REQUIRE(out[static_cast<std::size_t>(block * 257 + t)] == 255 - t + x);
    REQUIRE(out[static_cast<std::size_t>(block * 257 + 256)] == 255 * 128 + 256 * x);
  }
}

}  // namespace

TEST_CASE("blocks with barriers, shared memory and all grid dimensions give one answer in every order") {
  for (const auto& order : kThreadOrders) run_reverse_and_sum(order);
}

TEST_CASE("host threads emulate kernels at the same time") {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 3; i++)
    threads.emplace_back([i] {
      for (unsigned again = 0; again < 3; again++) run_reverse_and_sum({emulation::ThreadOrder::random, i * 10 + again});
    });
  for (auto& thread : threads) thread.join();
}

TEST_CASE("functions of the warp give what the hardware's do") {
  for (const auto& order : kThreadOrders) {
    std::vector<int> out(64 * 4);
    const TestLaunch launch{out.data(), 0};
    emulation::run_kernel("test_lanes", kOneBlock, 64, 0, &launch, order);
    for (int t = 0; t < 64; t++) {
      const int* row = &out[static_cast<std::size_t>(t) * 4];
      const int first = t / 32 * 32;
      CHECK(row[0] == (t ^ 5));
      CHECK(row[1] == first + 3);
      CHECK(row[2] == (t >= 32));
      CHECK(row[3] == 31 * 16 + 32 * first);
    }
  }
}

// With ThreadSanitizer it has to be a report of a race instead: tests/CMakeLists.txt looks for that.
#ifdef LEAFCUTTER_THREAD_SANITIZED
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

TEST_CASE("a missing barrier gives a wrong answer in every order of threads" * doctest::skip(kThreadSanitizer)) {
  unsigned wrong = 0;
  for (const auto& order : kThreadOrders) {
    std::vector<int> out(256);
    const TestLaunch launch{out.data(), 0};
    emulation::run_kernel("test_no_barrier", kOneBlock, 256, 0, &launch, order);
    for (int t = 0; t < 256; t++)
      if (out[static_cast<std::size_t>(t)] != 255 - t) {
        wrong++;
        break;
      }
  }
  CHECK(wrong == std::size(kThreadOrders));
}

#ifndef LEAFCUTTER_THREAD_SANITIZED  // what a launch that ended early leaves behind is noise to it

TEST_CASE("threads that do not meet end the launch, and the next one runs") {
  for (const auto& order : kThreadOrders) {
    CHECK(has(problem_of("test_barrier_of_some", 128, order), "64 in sync_block at emulator_test.cpp"));
    CHECK(has(problem_of("test_two_barriers", 64, order), "while others wait in that at"));
    CHECK(has(problem_of("test_missing_lane", 32, order), "31 of warp 0 in shuffle_xor"));
    CHECK(has(problem_of("test_different_meetings", 32, order), "while other lanes of warp 0 wait in"));
    CHECK(has(problem_of("test_wait_for_each_other", 64, order), "in sync_block at"));
    CHECK(has(problem_of("test_lane_32", 32, order), "lane or mask 32"));
    run_reverse_and_sum(order);
  }
}

TEST_CASE("too much shared memory, misaligned loads and impossible launches are errors") {
  const emulation::Options forward;
  CHECK(problem_of("test_too_much_shared", 32, forward) == "");
  CHECK(has(problem_of("test_too_much_shared", 32, forward, 16), "takes 49168 bytes of shared memory"));
  CHECK(has(problem_of("test_misaligned", 32, forward), "not aligned"));
  CHECK(has(problem_of("test_lanes", 96, forward), "more threads than the kernel was compiled for"));
  CHECK(has(problem_of("test_lanes", 33, forward), "whole warps"));
  CHECK(has(problem_of("test_lanes", 0, forward), "whole warps"));
  CHECK(has(problem_of("test_lanes", 32, forward, 49153), "more shared memory"));
  CHECK(has(problem_of("test_reverse_and_sum", 32, forward), "the launch gives none"));
  CHECK(has(problem_of("no_such_kernel", 32, forward), "no such kernel"));
}
#endif

TEST_CASE("shared memory that was not written is NaN, and -1, in each block") {
  for (const auto& order : kThreadOrders) {
    std::vector<int> out(32);
    const TestLaunch launch{out.data(), 0};
    for (int again = 0; again < 2; again++) {
      const std::uint32_t grid[3] = {1, 1, 1};
      emulation::run_kernel("test_unwritten", grid, 32, 128, &launch, order);
      for (const int v : out) CHECK(v == -1);
    }
  }
}

TEST_CASE("what kernels compute with is what it says") {
  CHECK(dp4a(0x7f80ff01, 0x02030405, 10) == 10 + 127 * 2 - 128 * 3 - 1 * 4 + 1 * 5);
  CHECK(dp4a_us(0x7f80ff01u, 0x02fd0405, 10) == 10 + 127 * 2 - 128 * 3 + 255 * 4 + 1 * 5);
  CHECK(round_even_to_int(2.5f) == 2);
  CHECK(round_even_to_int(-3.5f) == -4);
  CHECK(bf16_to_float(0x3fc0) == 1.5f);
  for (float x = -87; x <= 88.5f; x += 0.37f) CHECK(std::abs(leafcutter::gpu::exp(x) / std::exp(double{x}) - 1) < 4e-7);
  CHECK(leafcutter::gpu::exp(-1e30f) == 0);
  CHECK(leafcutter::gpu::exp(1e30f) > 3e38f);
}
