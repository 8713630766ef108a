// What the runtime asks of a device with memory of its own: memory, copies, streams, events and kernels from a table. Nothing here that a driver with streams does not have, and nothing that only one of them has:
// kernels take plain arguments (numbers and addresses of device memory), and the only way to host memory is a copy.
//
// Work is enqueued on streams. A stream runs what it was given in order; streams run beside each other, and only events order what is on different ones. A call that enqueues returns at once, except for copies
// from and to host memory that is not pinned.
//
// Failures. A call throws DeviceError when it cannot be done. Work that fails after it was enqueued is told by the next call that enqueues or waits; what was enqueued behind it may have run or not. After any failure
// drain() makes the device usable again, unless it is lost: then every call says so, except for those that free.
//
// One thread at a time talks to a device and to what belongs to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "leafcutter/error.h"
#include "offload/device_kernels.h"

namespace leafcutter::offload {

class ReadClock;
class Trace;
struct HostReads;

enum class DeviceFailure : std::uint8_t { out_of_memory, copy, launch, lost };

// kind(): out_of_budget for memory, device for everything else.
class DeviceError : public Error {
 public:
  DeviceError(DeviceFailure failure, const std::string& where, const std::string& problem, const std::string& hint = {})
      : Error(failure == DeviceFailure::out_of_memory ? ErrorKind::out_of_budget : ErrorKind::device, where, problem, hint),
        failure_(failure) {}
  DeviceFailure failure() const { return failure_; }

 private:
  DeviceFailure failure_;
};

struct DeviceProperties {
  std::string name;
  std::uint64_t memory_bytes = 0;  // that may be allocated
  std::size_t copy_engines = 2;    // 1: copies of the two directions take turns
  std::size_t host_cores = 0;      // of the machine that it keeps busy: none, unless it is played by one
};

constexpr std::size_t kDeviceAlignment = 256;  // of every allocation; what is cut out of one begins at such a place, too

enum class DeviceStream : std::uint32_t {};
enum class DeviceEvent : std::uint32_t {};

// What is copied: `rows` pieces of row_bytes, whose beginnings are a stride apart on either side. One piece: strides do not matter.
struct CopyShape {
  std::size_t row_bytes = 0, rows = 1;
  std::size_t to_stride = 0, from_stride = 0;  // bytes
};

// What the host did for a step.
struct HostWork {
  double bytes = 0, int8_operations = 0, f32_operations = 0;  // of products; multiply and add count as two
  double kv_bytes = 0, attention_operations = 0;
  std::uint64_t attention_rows = 0;
  std::uint64_t logits = 0, lookups = 0;  // handed out; rows of an embedding read from disk
};

class Device {
 public:
  virtual ~Device() = default;  // waits for all work

  virtual const DeviceProperties& properties() const = 0;

  // ---- memory

  // `what` is for people: "KV cache". Throws DeviceError(out_of_memory). bytes > 0. The contents are undefined.
  virtual DeviceAddress allocate(std::size_t bytes, const std::string& what) = 0;
  virtual void free(DeviceAddress address) noexcept = 0;  // waits for all work first
  // Memory of the host that copies read and write in the background. Null: refused, ordinary memory has to do.
  virtual std::byte* allocate_pinned(std::size_t bytes) = 0;
  virtual void free_pinned(std::byte* memory) noexcept = 0;  // waits for all work first
  // The same for memory that is there already, whole pages. False: refused.
  virtual bool pin(std::span<std::byte> memory) = 0;
  virtual void unpin(std::span<std::byte> memory) noexcept = 0;  // waits for all work first
  virtual std::uint64_t allocated_bytes() const = 0;             // of device memory, now
  virtual std::uint64_t most_allocated_bytes() const = 0;        // so far

  // ---- streams and events, which live as long as the device

  virtual DeviceStream make_stream() = 0;
  virtual DeviceEvent make_event() = 0;
  // The event is done when everything is that the stream was given before. An event that is recorded again forgets what it stood for; who waits already waits for the old.
  virtual void record(DeviceEvent event, DeviceStream stream) = 0;
  // What the stream is given from now on runs after the event as it was recorded last; at once if it never was.
  virtual void wait(DeviceStream stream, DeviceEvent event) = 0;
  virtual bool is_done(DeviceEvent event) = 0;
  virtual void synchronize(DeviceEvent event) = 0;
  virtual void synchronize(DeviceStream stream) = 0;
  // An event that also tells when: between two of them that were recorded and are done, seconds on the device's clock. None: the device has no such events.
  virtual std::optional<DeviceEvent> make_timed_event() { return std::nullopt; }
  virtual double seconds_between(DeviceEvent, DeviceEvent) { return 0; }
  // Waits until all streams are empty and forgets what failed. False: the device is lost.
  virtual bool drain() noexcept = 0;

  // ---- work. Pinned memory must stay as it is until the copy is done; any other may be changed when the call returns

  virtual void copy_to_device(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) = 0;
  // The same for little at a time: the device reads pinned memory by itself, so that it need not wait behind the copies that are under way. A device that cannot do that copies.
  virtual void fetch(DeviceAddress to, const std::byte* from, const CopyShape& shape, DeviceStream stream) {
    copy_to_device(to, from, shape, stream);
  }
  virtual void copy_to_host(std::byte* to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) = 0;
  virtual void copy_on_device(DeviceAddress to, DeviceAddress from, const CopyShape& shape, DeviceStream stream) = 0;
  // arguments: the struct that belongs to the kernel (device_kernels.h); it is copied.
  virtual void launch(DeviceKernel kernel, const void* arguments, DeviceStream stream) = 0;

  // Copies from and to the host and kernels are noted there from now on, by devices that know when theirs run; null: nowhere. It must stay until all work is done.
  virtual void set_trace(Trace*) {}

  // ---- a clock of its own, where a device has one

  // The host did this between the call before and this one: on such a clock, that takes its time now.
  virtual void host_worked(const HostWork&) {}
  // From here on the host reads this while its steps run. Where what is returned says that a chunk is there, it is; null: nobody asks, reads take the time that they take.
  virtual ReadClock* play_reads(const HostReads&) { return nullptr; }
  // Since the device was made; none: it runs in real time.
  virtual std::optional<double> clock_seconds() const { return std::nullopt; }

  template <class Arguments>
  void launch(const Arguments& arguments, DeviceStream stream) {
    launch(Arguments::kKernel, &arguments, stream);
  }
};

}  // namespace leafcutter::offload
