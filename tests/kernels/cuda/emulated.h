// Runs a device kernel as a card would be told to: by launch_shape(), in one of the orders of threads that every kernel is tested in.
// The same tests are built a second time with LEAFCUTTER_TEST_PTX: then what runs is not the kernels' source, compiled for the host, but the PTX that lies in the program.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/launch_shape.h"
#include "tests/support/cuda_emulation/emulator.h"
#if defined(LEAFCUTTER_TEST_PTX)
#include "tests/support/ptx_launch/ptx_launch.h"
#include "tests/support/sanitized.h"
#endif

namespace leafcutter::gpu {

#if defined(LEAFCUTTER_TEST_PTX)

constexpr emulation::Options kThreadOrders[] = {{}};  // the interpreter has one order

template <class Launch>
void run_emulated(const Launch& launch, const emulation::Options&) {
  ptx::run_embedded(launch);
}

#else

constexpr emulation::Options kThreadOrders[] = {
#ifndef LEAFCUTTER_THREAD_SANITIZED  // it finds a race in any order, and takes its time for each
    {emulation::ThreadOrder::forward, 0},
    {emulation::ThreadOrder::reverse, 0},
    {emulation::ThreadOrder::random, 1},
#endif
    {emulation::ThreadOrder::random, 2},
};

template <class Launch>
void run_emulated(const Launch& launch, const emulation::Options& options) {
  const LaunchShape shape = launch_shape(Launch::kKernel, &launch);
  if (shape.empty()) return;
  const auto kernel = emulation::find_kernel(shape.function);
  REQUIRE(kernel);
  REQUIRE(kernel->argument_bytes == sizeof(Launch));
  emulation::run_kernel(shape.function, shape.grid, shape.threads, shape.shared_bytes, &launch, options);
}

#endif

template <class T>
kernels::DeviceAddress address_of(const std::vector<T>& values) {
  return {reinterpret_cast<std::uintptr_t>(values.data())};
}

inline std::vector<float> random_floats(std::size_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

}  // namespace leafcutter::gpu
