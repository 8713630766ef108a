// The smallest program that streams weights through a device as the runtime does: chunks go through a ring by CopyAhead, each is multiplied with the rows of the one before, on two streams with events between them.
// Single pieces can be left out, so that tests see them missed.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/activation_rows.h"
#include "offload/copy_ahead.h"
#include "offload/device.h"
#include "offload/device_memory.h"

namespace leafcutter::offload::test {

struct StreamerFaults {
  bool no_wait_for_copy = false;   // a product does not wait for its weights
  bool no_wait_for_use = false;    // a copy does not wait for those who use what it overwrites
  bool host_reuses_input = false;  // the host writes into a pinned buffer that is being copied
  bool reads_early = false;        // the host reads the answer without waiting for it
};

class DeviceStreamer {
 public:
  static constexpr std::size_t kWidth = 32, kChunks = 6;  // of f32 weights: kWidth x kWidth

  DeviceStreamer(Device& device, std::size_t ring_chunks)
      : device_(device),
        ahead_(std::vector<CopyAhead::Chunk>(kChunks, {kBytes, kBytes, false}), ring_chunks * kBytes, 1),
        copies_(device.make_stream()),
        compute_(device.make_stream()),
        ring_(device, ring_chunks * kBytes, "ring"),
        rows_(device, 2 * kRowBytes, "rows"),
        weights_(device, kChunks * kBytes, "weights"),
        host_rows_(device, 2 * kRowBytes, "rows of the host") {
    for (std::size_t i = 0; i < kChunks * kBytes / sizeof(float); i++)
      reinterpret_cast<float*>(weights_.data())[i] = static_cast<float>(static_cast<int>(i * 7919 % 23) - 11) / 64;
    for (std::size_t i = 0; i < ahead_.most_turns(); i++) {
      copied_.push_back(device.make_event());
      used_.push_back(device.make_event());
    }
    ahead_.resume();
  }

  // Some steps; the last one's answer.
  std::vector<float> run(std::size_t steps, const StreamerFaults& faults = {}) {
    std::vector<float> answer(kWidth);
    for (std::size_t step = 0; step < steps; step++) {
      auto* input = reinterpret_cast<float*>(host_rows_.data());
      for (std::size_t i = 0; i < kWidth; i++) input[i] = static_cast<float>(i + step) / 16;
      device_.copy_to_device(rows_.address(), host_rows_.data(), {kRowBytes}, compute_);
      if (faults.host_reuses_input) input[0] = 1;
      for (std::size_t chunk = 0; chunk < kChunks; chunk++) {
        copy_ahead(faults);
        multiply(chunk, faults);
      }
      device_.copy_to_host(host_rows_.data() + kRowBytes, rows_.address() + kChunks % 2 * kRowBytes, {kRowBytes}, compute_);
      if (!faults.reads_early) device_.synchronize(compute_);
      std::memcpy(answer.data(), host_rows_.data() + kRowBytes, kRowBytes);
    }
    return answer;
  }

 private:
  static constexpr std::size_t kBytes = kWidth * kWidth * sizeof(float), kRowBytes = kWidth * sizeof(float);

  void copy_ahead(const StreamerFaults& faults) {
    while (ahead_.begun(complete_) && ahead_.stage(complete_) == CopyAhead::Stage::copying &&
           device_.is_done(copied_[ahead_.slot(complete_)]))
      ahead_.end_copy(complete_++, nullptr);
    while (const auto copy = ahead_.begin_copy()) {
      if (copy->after_use_of && !faults.no_wait_for_use) device_.wait(copies_, used_[ahead_.slot(*copy->after_use_of)]);
      device_.copy_to_device(ring_.address() + copy->offset, weights_.data() + ahead_.position(copy->turn) * kBytes, {kBytes}, copies_);
      device_.record(copied_[ahead_.slot(copy->turn)], copies_);
    }
  }

  void multiply(std::size_t chunk, const StreamerFaults& faults) {
    const std::uint64_t turn = ahead_.next();
    ahead_.acquire();
    if (!faults.no_wait_for_copy) device_.wait(compute_, copied_[ahead_.slot(turn)]);
    ProductLaunch product;
    product.weights = ring_.address() + ahead_.ring_offset(turn);
    product.x = rows_.address() + chunk % 2 * kRowBytes;
    product.y = rows_.address() + (chunk + 1) % 2 * kRowBytes;
    product.k = product.outputs = product.x_stride = product.y_stride = kWidth;
    product.strips = kWidth / kernels::kStripRows;
    product.rows = 1;
    device_.launch(product, compute_);
    device_.record(used_[ahead_.slot(turn)], compute_);
    ahead_.release(chunk);
  }

  Device& device_;
  CopyAhead ahead_;
  const DeviceStream copies_, compute_;
  const DeviceBuffer ring_, rows_;
  const StagingBuffer weights_, host_rows_;
  std::vector<DeviceEvent> copied_, used_;
  std::uint64_t complete_ = 0;  // turns whose copies are known to be complete
};

}  // namespace leafcutter::offload::test
