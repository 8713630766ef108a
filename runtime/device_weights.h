// The weights of a model whose steps run on a device: residents in an arena of the device, all others copied to a ring of it ahead of their use, or computed by the host where they are, as a plan says.
// CopyAhead decides what is copied when; this enqueues it, takes sources from the pager and gives them back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/file.h"
#include "compress/leaf_index.h"
#include "offload/copy_ahead.h"
#include "offload/device.h"
#include "offload/device_memory.h"
#include "offload/device_plan.h"
#include "offload/pager.h"
#include "offload/read_clock.h"

namespace leafcutter::runtime {

// Used by one thread. What it refers to must outlive it.
class DeviceWeights {
 public:
  // The pager carries the host's part of the plan out: its order is host_order(). compute: the stream that uses the weights. Throws DeviceError(out_of_memory).
  DeviceWeights(offload::Device& device, const compress::LeafIndex& index, const offload::DevicePlan& plan, offload::Pager& pager,
                offload::DeviceStream compute);

  // The chunks of a step that are not on the device, in order of execution.
  static std::vector<std::uint32_t> host_order(const compress::LeafIndex& index, const offload::DevicePlan& plan);

  // Reads and checks the device's residents, once, before the pager reads ahead. Throws Error(io | bad_file | cancelled), DeviceError.
  void load(File& file, std::stop_token stop);

  // Bytes of a chunk that the host computes in this step; the rest is the device's.
  std::size_t host_bytes(std::uint32_t chunk) const { return order_->host_bytes[chunk]; }
  bool has_device_part(std::uint32_t chunk) const { return order_->device_bytes[chunk] > 0; }

  // Does it stay on the device? And does it lie there right behind the chunk before it, as in the module?
  bool stays(std::uint32_t chunk) const { return resident_offset_[chunk] != kNowhere; }
  bool continues(std::uint32_t chunk) const;

  // A step with the plan's sides for so many rows. What was copied ahead for a step with the other sides is given up.
  void begin_step(std::size_t rows);
  // Where byte host_bytes(chunk) of the blob is on the device, for uses that are enqueued on the compute stream before device_used(). Chunks come in order of execution.
  offload::DeviceAddress on_device(std::uint32_t chunk);
  void device_used(std::uint32_t chunk);
  // The blob in host memory, until host_used().
  std::span<const std::byte> on_host(std::uint32_t chunk);
  void host_used(std::uint32_t chunk);

  // The step goes on behind this module: chunks of it that nobody used are passed over.
  void finish(const compress::ModuleEntry& module);
  // After a failure or a stop, when the device has run empty.
  void abandon();

  std::uint64_t copied_bytes() const { return copied_bytes_; }  // to the device, since this was made

 private:
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  enum class Copying : std::uint8_t { no, wanted, under_way };
  struct Source {  // a streamed chunk that was taken from the pager
    std::uint64_t turn;
    std::uint32_t chunk;
    std::span<const std::byte> blob;
    Copying copy;
    bool host;  // the host needs it
  };

  // What is copied in each step with the same sides.
  struct Order {
    std::vector<std::size_t> host_bytes, device_bytes;  // of rows that are multiplied, per chunk of the index
    std::vector<std::uint32_t> copied;                  // chunks
    std::vector<std::size_t> copy_position;             // per chunk of the index: where among the copied; kNowhere for others
    offload::CopyAhead ahead;
    Order(const compress::LeafIndex& index, const offload::DevicePlan& plan, const offload::Sides& sides, const offload::Pager& pager);
  };

  std::uint32_t chunk_of(std::uint64_t turn) const { return order_->copied[order_->ahead.position(turn)]; }
  void play_reads(const offload::DevicePlan& plan);
  void change_order(Order& order);
  void enqueue_copies();
  void notice_copies(bool wait);
  Source* find_for_copy(std::uint32_t chunk);
  // The next streamed chunk of the order; `wait`: even if it takes time. False: it is not there yet.
  bool take_next_source(bool wait);
  void reset_sources();
  void drop_if_done(std::size_t source);

  offload::Device& device_;
  const compress::LeafIndex& index_;
  offload::Pager& pager_;
  Order decode_;
  std::optional<Order> prefill_;              // none: the same sides
  Order* order_ = &decode_;                   // of this step and of what is copied ahead
  std::vector<std::size_t> resident_offset_;  // in the arena; kNowhere for others
  std::vector<std::uint32_t> streamed_;
  offload::ReadClock* reads_ = nullptr;     // of a device that has one
  std::size_t acquired_ = 0;                // copied chunks, in this step
  std::uint64_t taken_ = 0, step_end_ = 0;  // streamed chunks: taken so far, and to be taken by the end of this step
  std::uint64_t passed_ = 0;                // the host does not need those before this turn that are still to be taken
  offload::DeviceBuffer arena_, ring_;
  offload::DeviceStream copies_, compute_;
  std::vector<offload::DeviceEvent> copied_events_, used_events_;  // by CopyAhead::slot
  std::uint64_t complete_ = 0;                                     // the first turn whose copy is not known to be complete
  std::vector<Source> sources_;
  std::optional<std::uint32_t> held_;  // the copied chunk that was acquired and not released
  std::uint64_t copied_bytes_ = 0;
};

}  // namespace leafcutter::runtime
