#include "tests/support/ptx/interpreter.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/support/ptx/lane_values.h"

namespace leafcutter::ptx {
namespace {

constexpr std::uint32_t kAllLanes = ~std::uint32_t{0};
constexpr Lane kPoison = 0x7ff8dead7fc0deadull;  // a NaN as float, as double and in both halves
constexpr unsigned kBanks = 32, kBankBytes = 4;
constexpr std::uint32_t kMostSharedBytes = 48 * 1024;

// Lanes that are in one place, until they come to the meeting where the frame below goes on with them.
struct Frame {
  std::size_t place, meeting;
  std::uint32_t lanes;
};

struct Warp {
  Registers registers;
  std::vector<std::byte> local;  // a thread after another
  unsigned index = 0;
  std::uint32_t live = 0;
  bool waiting = false;       // all of it, at a barrier
  std::vector<Frame> frames;  // the last one runs; the first has all live lanes
};

template <class Use>
void each_lane(std::uint32_t lanes, Use&& use) {
  for (; lanes != 0; lanes &= lanes - 1) use(static_cast<unsigned>(std::countr_zero(lanes)));
}

class Machine {
 public:
  Machine(const Module& module, const Kernel& kernel, const Launch& launch, std::span<const std::byte> arguments, GlobalMemory& memory)
      : module_(module), kernel_(kernel), launch_(launch), arguments_(arguments), memory_(memory), counts_(kernel.code.size()) {
    if (launch.threads == 0 || launch.threads > kernel.most_threads)
      throw std::runtime_error(kernel.name + " cannot be launched with blocks of " + std::to_string(launch.threads) + " threads");
    if (kernel.shared_bytes + launch.shared_bytes > kMostSharedBytes)
      throw std::runtime_error(kernel.name + " cannot be launched with " + std::to_string(kernel.shared_bytes + launch.shared_bytes) +
                               " bytes of shared memory");
    if (arguments.size() != kernel.parameter_bytes)
      throw std::runtime_error(kernel.name + " takes " + std::to_string(kernel.parameter_bytes) + " bytes of arguments, not " +
                               std::to_string(arguments.size()));
    shared_.resize(kernel.shared_bytes + launch.shared_bytes);
    const std::size_t warps = (launch.threads + kWarpLanes - 1) / kWarpLanes;
    for (std::size_t w = 0; w < warps; w++)
      warps_.push_back({Registers(kernel.slots.size()),
                        std::vector<std::byte>(kernel.local_bytes * kWarpLanes),
                        static_cast<unsigned>(w),
                        0,
                        false,
                        {}});
  }

  Outcome run() {
    memory_.begin_launch();
    const std::uint64_t all = std::uint64_t{launch_.grid[0]} * launch_.grid[1] * launch_.grid[2];
    std::uint64_t blocks = 0;
    if (launch_.blocks.empty()) {
      for (; blocks < all; blocks++) run_block(blocks);
    } else {
      for (const std::uint64_t block : launch_.blocks) {
        if (block >= all) throw std::runtime_error(kernel_.name + " has no block " + std::to_string(block));
        run_block(block);
        blocks++;
      }
    }
    Outcome outcome{counters_of(kernel_, counts_), std::move(counts_)};
    outcome.counters.blocks = blocks;
    outcome.counters.dram_read_bytes = memory_.read_sectors() * kSectorBytes;
    outcome.counters.dram_write_bytes = memory_.written_sectors() * kSectorBytes;
    return outcome;
  }

 private:
  void run_block(std::uint64_t block) {
    block_ = {static_cast<std::uint32_t>(block % launch_.grid[0]), static_cast<std::uint32_t>(block / launch_.grid[0] % launch_.grid[1]),
              static_cast<std::uint32_t>(block / launch_.grid[0] / launch_.grid[1])};
    std::fill(shared_.begin(), shared_.end(), std::byte{0xff});
    for (Warp& warp : warps_) start(warp);
    while (true) {
      for (Warp& warp : warps_) run_warp(warp);
      std::uint32_t threads = 0, waiting = 0;
      const Instruction* at = nullptr;
      for (const Warp& warp : warps_) {
        threads += static_cast<std::uint32_t>(std::popcount(warp.live));
        if (!warp.waiting) continue;
        waiting += static_cast<std::uint32_t>(std::popcount(warp.live));
        at = &kernel_.code[warp.frames.back().place];
      }
      if (threads == 0) return;
      if (waiting != launch_.threads)
        fail(*at, "a barrier after " + std::to_string(launch_.threads - waiting) + " threads of the block have left");
      for (Warp& warp : warps_) {
        warp.waiting = false;
        warp.frames.back().place++;
      }
    }
  }

  void start(Warp& warp) {
    const std::uint32_t first = warp.index * kWarpLanes, count = std::min(launch_.threads - first, kWarpLanes);
    warp.live = count == kWarpLanes ? kAllLanes : (std::uint32_t{1} << count) - 1;
    warp.waiting = false;
    warp.frames.assign(1, {0, kernel_.code.size(), warp.live});
    std::fill(warp.local.begin(), warp.local.end(), std::byte{0xff});
    for (std::size_t s = 0; s < kernel_.slots.size(); s++) {
      const SlotInfo& slot = kernel_.slots[s];
      Lane* const lanes = warp.registers[static_cast<Slot>(s)];
      for (unsigned lane = 0; lane < kWarpLanes; lane++) lanes[lane] = first_value(slot, warp, lane);
    }
  }

  Lane first_value(const SlotInfo& slot, const Warp& warp, unsigned lane) const {
    const unsigned d = slot.dimension;
    switch (slot.kind) {
      case SlotInfo::Kind::reg:
        return slot.type == Type::pred ? kPoison & 1 : kPoison & mask_of(slot.type);
      case SlotInfo::Kind::constant:
        return slot.value;
      case SlotInfo::Kind::dynamic_shared:
        return kernel_.shared_bytes;
      case SlotInfo::Kind::special:
        break;
    }
    switch (slot.special) {
      case Special::tid:
        return d == 0 ? warp.index * kWarpLanes + lane : 0;
      case Special::ntid:
        return d == 0 ? launch_.threads : 1;
      case Special::ctaid:
        return block_[d];
      case Special::nctaid:
        return launch_.grid[d];
      case Special::laneid:
        return lane;
      case Special::warpid:
        return warp.index;
    }
    return 0;
  }

  static Lane mask_of(Type type) { return bytes_of(type) == 8 ? ~Lane{0} : (Lane{1} << 8 * bytes_of(type)) - 1; }

  [[noreturn]] void fail(const Instruction& i, const std::string& problem) const {
    throw Error(i.line, i.opcode,
                problem + " (" + kernel_.name + ", block " + std::to_string(block_[0]) + "," + std::to_string(block_[1]) + "," +
                    std::to_string(block_[2]) + ")");
  }

  // Until it ends or waits.
  void run_warp(Warp& warp) {
    while (warp.live != 0 && !warp.waiting) {
      const Frame& top = warp.frames.back();
      if (warp.frames.size() > 1 && (top.lanes == 0 || top.place == top.meeting))
        warp.frames.pop_back();
      else
        step(warp);
    }
  }

  void step(Warp& warp) {
    const std::size_t place = warp.frames.back().place;
    const std::uint32_t here = warp.frames.back().lanes;
    const Instruction& i = kernel_.code[place];
    InstructionCounts& count = counts_[place];
    std::uint32_t lanes = here;
    if (i.predicate != kNoSlot) {
      const Lane* const predicate = warp.registers[i.predicate];
      std::uint32_t set = 0;
      for (unsigned lane = 0; lane < kWarpLanes; lane++) set |= static_cast<std::uint32_t>(predicate[lane] & 1) << lane;
      lanes &= i.predicate_negated ? ~set : set;
    }
    count.executed++;
    count.lanes += static_cast<unsigned>(std::popcount(lanes));
    count.divergent += here == warp.live ? 0 : 1;
    if (++steps_ > launch_.most_instructions) fail(i, "the kernel does not end");
    switch (i.kind) {
      case Kind::compute:
        i.compute(i, warp.registers, lanes);
        break;
      case Kind::load:
      case Kind::store:
      case Kind::atomic:
        if (lanes != 0) access(warp, i, lanes, count);
        break;
      case Kind::branch:
        return branch(warp, i, here, lanes);
      case Kind::barrier:
        if (lanes != warp.live) fail(i, "a barrier that only part of a warp reaches");
        warp.waiting = true;
        return;
      case Kind::warp_barrier:
        require_mask(warp, i, lanes, i.in[0]);
        break;
      case Kind::shuffle:
        require_mask(warp, i, lanes, i.in[3]);
        shuffle(warp, i, lanes);
        count.passes++;
        break;
      case Kind::vote:
        require_mask(warp, i, lanes, i.in[1]);
        vote(warp, i, lanes);
        break;
      case Kind::active_mask:
        each_lane(lanes, [&](unsigned lane) { warp.registers[i.out[0]][lane] = lanes; });
        break;
      case Kind::exit:
        warp.live &= ~lanes;
        for (Frame& frame : warp.frames) frame.lanes &= warp.live;
        break;
      case Kind::nothing:
        break;
    }
    warp.frames.back().place++;
  }

  static void branch(Warp& warp, const Instruction& i, std::uint32_t here, std::uint32_t taken) {
    Frame& frame = warp.frames.back();
    const std::size_t next = frame.place + 1;
    if (taken == here || taken == 0) {
      frame.place = taken == 0 ? next : i.target;
      return;
    }
    frame.place = i.meeting;
    warp.frames.push_back({i.target, i.meeting, taken});
    warp.frames.push_back({next, i.meeting, here & ~taken});
  }

  void require_mask(const Warp& warp, const Instruction& i, std::uint32_t lanes, Slot slot) const {
    each_lane(lanes, [&](unsigned lane) {
      const auto mask = static_cast<std::uint32_t>(warp.registers[slot][lane]);
      if ((mask & warp.live) != lanes || (mask >> lane & 1) == 0) fail(i, "not all lanes of its mask are here");
    });
  }

  void shuffle(Warp& warp, const Instruction& i, std::uint32_t lanes) {
    std::array<Lane, kWarpLanes> values;
    std::copy_n(warp.registers[i.in[0]], kWarpLanes, values.begin());
    std::array<Lane, kWarpLanes> results{};
    std::uint32_t in_range = 0;
    each_lane(lanes, [&](unsigned lane) {
      const auto by = static_cast<unsigned>(warp.registers[i.in[1]][lane] & 31),
                 control = static_cast<unsigned>(warp.registers[i.in[2]][lane]);
      const unsigned segment = control >> 8 & 31, clamp = control & 31;
      const unsigned first = lane & segment, last = first | (clamp & ~segment);
      int from = 0;
      bool ok = false;
      switch (i.exchange) {
        case Exchange::up:
          from = static_cast<int>(lane) - static_cast<int>(by);
          ok = from >= static_cast<int>(last);
          break;
        case Exchange::down:
          from = static_cast<int>(lane + by);
          ok = from <= static_cast<int>(last);
          break;
        case Exchange::butterfly:
          from = static_cast<int>(lane ^ by);
          ok = from <= static_cast<int>(last);
          break;
        case Exchange::index:
          from = static_cast<int>(first | (by & ~segment));
          ok = from <= static_cast<int>(last);
          break;
      }
      if (!ok) from = static_cast<int>(lane);
      in_range |= ok ? 1u << lane : 0;
      results[lane] = (lanes >> from & 1) != 0 ? values[static_cast<unsigned>(from)] : kPoison & mask_of(Type::b32);
    });
    each_lane(lanes, [&](unsigned lane) {
      warp.registers[i.out[0]][lane] = results[lane];
      if (i.outs == 2) warp.registers[i.out[1]][lane] = in_range >> lane & 1;
    });
  }

  static void vote(Warp& warp, const Instruction& i, std::uint32_t lanes) {
    std::uint32_t set = 0;
    each_lane(lanes,
              [&](unsigned lane) { set |= static_cast<std::uint32_t>(((warp.registers[i.in[0]][lane] & 1) != 0) != i.negated) << lane; });
    Lane result = set;
    if (i.vote == Vote::all) result = set == lanes;
    if (i.vote == Vote::any) result = set != 0;
    if (i.vote == Vote::uniform) result = set == lanes || set == 0;
    each_lane(lanes, [&](unsigned lane) { warp.registers[i.out[0]][lane] = result; });
  }

  // --- memory
  void access(Warp& warp, const Instruction& i, std::uint32_t lanes, InstructionCounts& count) {
    const unsigned bytes = bytes_of(i.type) * i.vector;
    std::array<std::uint64_t, kWarpLanes> addresses;
    const Lane* const base = warp.registers[i.in[0]];
    std::uint64_t low = ~std::uint64_t{0}, high = 0;
    each_lane(lanes, [&](unsigned lane) {
      const std::uint64_t address = base[lane] + static_cast<std::uint64_t>(i.offset);
      addresses[lane] = address;
      low = std::min(low, address);
      high = std::max(high, address);
      if (address % bytes != 0)
        fail(i, "address " + std::to_string(address) + " of thread " + thread_text(warp, lane) + " is no multiple of " +
                    std::to_string(bytes));
    });
    Space space = i.space;
    if (space == Space::generic) space = generic_space(i, addresses, lanes, low, high);
    switch (space) {
      case Space::shared:
        each_lane(lanes, [&](unsigned lane) {
          if (addresses[lane] > shared_.size() || bytes > shared_.size() - addresses[lane])
            fail(i, "byte " + std::to_string(addresses[lane]) + " of " + std::to_string(shared_.size()) + " of shared memory, by thread " +
                        thread_text(warp, lane));
          transfer(warp, i, lane, shared_.data() + addresses[lane]);
        });
        count_banks(addresses, lanes, bytes, count);
        break;
      case Space::param:
        each_lane(lanes, [&](unsigned lane) {
          if (addresses[lane] > arguments_.size() || bytes > arguments_.size() - addresses[lane]) fail(i, "outside of the arguments");
          transfer(warp, i, lane, const_cast<std::byte*>(arguments_.data()) + addresses[lane]);
        });
        break;
      case Space::local:
        each_lane(lanes, [&](unsigned lane) {
          if (addresses[lane] > kernel_.local_bytes || bytes > kernel_.local_bytes - addresses[lane])
            fail(i, "outside of the thread's own memory");
          transfer(warp, i, lane, warp.local.data() + lane * kernel_.local_bytes + addresses[lane]);
        });
        count.sectors += bytes;  // of 32 lanes, side by side
        count.passes += std::max(1u, bytes / kBankBytes);
        break;
      default:
        access_global(warp, i, lanes, addresses, bytes, low, high, count);
    }
  }

  static std::string thread_text(const Warp& warp, unsigned lane) { return std::to_string(warp.index * kWarpLanes + lane); }

  // One instruction's lanes are all of one space; addresses become those of the space.
  Space generic_space(const Instruction& i, std::array<std::uint64_t, kWarpLanes>& addresses, std::uint32_t lanes, std::uint64_t low,
                      std::uint64_t high) const {
    const auto within = [&](std::uint64_t window) { return low >= window && high < window + kWindowBytes; };
    for (const auto& [window, space] : {std::pair{kSharedWindow, Space::shared}, std::pair{kLocalWindow, Space::local}})
      if (within(window)) {
        each_lane(lanes, [&](unsigned lane) { addresses[lane] %= kWindowBytes; });
        return space;
      }
    if (high >= kSharedWindow) fail(i, "generic addresses of several spaces in one instruction");
    return Space::global;
  }

  void access_global(Warp& warp, const Instruction& i, std::uint32_t lanes, const std::array<std::uint64_t, kWarpLanes>& addresses,
                     unsigned bytes, std::uint64_t low, std::uint64_t high, InstructionCounts& count) {
    const bool writes = i.kind != Kind::load;
    // Each access lies within one sector, being aligned. Which bytes of which sectors:
    std::array<std::uint64_t, kWarpLanes> sectors;
    std::array<std::uint32_t, kWarpLanes> asked;
    unsigned n = 0;
    Region* region = memory_.find(low, high + bytes - low);
    each_lane(lanes, [&](unsigned lane) {
      const std::uint64_t address = addresses[lane], sector = address / kSectorBytes;
      if (region == nullptr || address < region->begin || address + bytes > region->end) {
        region = memory_.find(address, bytes);
        if (region == nullptr && !writes && in_variable(address, bytes))
          return transfer(warp, i, lane, reinterpret_cast<std::byte*>(address));
        if (region == nullptr)
          fail(i, std::to_string(bytes) + " bytes at " + std::to_string(address) + ", by thread " + thread_text(warp, lane) +
                      ", lie in no buffer");
      }
      if (writes && !region->writable) fail(i, "buffer '" + region->name + "' is read-only");
      mark(i, *region, sector, writes);
      transfer(warp, i, lane, reinterpret_cast<std::byte*>(address));
      unsigned s = n;
      while (s > 0 && sectors[s - 1] != sector) s--;
      if (s == 0) {
        sectors[n] = sector;
        asked[n] = 0;
        s = ++n;
      }
      asked[s - 1] |= static_cast<std::uint32_t>((std::uint64_t{1} << bytes) - 1) << address % kSectorBytes;
    });
    unsigned unique = 0;
    for (unsigned s = 0; s < n; s++) unique += static_cast<unsigned>(std::popcount(asked[s]));
    count.sectors += n;
    count.excess_sectors += n - (unique + kSectorBytes - 1) / kSectorBytes;
    count.passes += std::max(1u, (n + 3) / 4);
  }

  bool in_variable(std::uint64_t address, unsigned bytes) const {
    return std::any_of(module_.variables.begin(), module_.variables.end(), [&](const auto& variable) {
      const auto begin = reinterpret_cast<std::uint64_t>(variable->storage.data());
      return address >= begin && address + bytes <= begin + variable->bytes;
    });
  }

  void mark(const Instruction& i, Region& region, std::uint64_t sector, bool writes) const {
    std::uint8_t& touched = region.touched[sector - region.begin / kSectorBytes];
    if (writes) {
      if ((touched & GlobalMemory::kReadOnlyPath) != 0) fail(i, "buffer '" + region.name + "' is written where ld.global.nc has read it");
      touched |= GlobalMemory::kWritten;
    } else {
      if (i.read_only && (touched & GlobalMemory::kWritten) != 0)
        fail(i, "buffer '" + region.name + "' is read-only for ld.global.nc, but the launch has written there");
      if ((touched & GlobalMemory::kWritten) == 0) touched |= GlobalMemory::kRead;
      if (i.read_only) touched |= GlobalMemory::kReadOnlyPath;
    }
  }

  // The words of each group of lanes that is served at once, by bank; a word that several lanes read is given once.
  static void count_banks(const std::array<std::uint64_t, kWarpLanes>& addresses, std::uint32_t lanes, unsigned bytes,
                          InstructionCounts& count) {
    const unsigned words = std::max(1u, bytes / kBankBytes), group = kWarpLanes / words;
    for (unsigned begin = 0; begin < kWarpLanes; begin += group) {
      std::array<std::array<std::uint64_t, kWarpLanes>, kBanks> of_bank;
      std::array<unsigned, kBanks> n{};
      unsigned most = 0;
      for (unsigned lane = begin; lane < begin + group; lane++) {
        if ((lanes >> lane & 1) == 0) continue;
        for (unsigned w = 0; w < words; w++) {
          const std::uint64_t word = addresses[lane] / kBankBytes + w;
          const auto bank = static_cast<unsigned>(word % kBanks);
          const auto* const end = of_bank[bank].data() + n[bank];
          if (std::find(static_cast<const std::uint64_t*>(of_bank[bank].data()), end, word) != end) continue;
          of_bank[bank][n[bank]++] = word;
          most = std::max(most, n[bank]);
        }
      }
      count.passes += most;
      count.conflicts += most == 0 ? 0 : most - 1;
    }
  }

  static void transfer(Warp& warp, const Instruction& i, unsigned lane, std::byte* at) {
    const unsigned bytes = bytes_of(i.type);
    if (i.kind == Kind::atomic) return update(warp, i, lane, at);
    for (unsigned v = 0; v < i.vector; v++, at += bytes) {
      if (i.kind == Kind::store) {
        std::memcpy(at, &warp.registers[i.in[1 + v]][lane], bytes);  // little-endian: the low bytes
      } else {
        Lane value = 0;
        std::memcpy(&value, at, bytes);
        if (is_signed(i.type) && bytes < 8 && (value >> (8 * bytes - 1) & 1) != 0) value |= ~Lane{0} << 8 * bytes;
        warp.registers[i.out[v]][lane] = value & i.out_mask;
      }
    }
  }

  // Lanes of a warp one after another.
  static void update(Warp& warp, const Instruction& i, unsigned lane, std::byte* at) {
    const auto change = [&](auto zero) {
      using T = decltype(zero);
      T old;
      std::memcpy(&old, at, sizeof old);
      const T value = value_of<T>(warp.registers[i.in[1]][lane]);
      const T next = updated(i, old, value, [&] { return value_of<T>(warp.registers[i.in[2]][lane]); });
      std::memcpy(at, &next, sizeof next);
      if (i.outs == 1) warp.registers[i.out[0]][lane] = lane_of(old);
    };
    if (i.type == Type::f32)
      change(float{});
    else
      with_integer(i.type, change);
  }

  template <class T, class Second>
  static T updated(const Instruction& i, T old, T value, Second&& second) {
    switch (i.atomic) {
      case Atomic::min:
        return std::min(old, value);
      case Atomic::max:
        return std::max(old, value);
      case Atomic::exchange:
        return value;
      case Atomic::compare_exchange:
        return old == value ? second() : old;
      default:
        break;
    }
    if constexpr (std::is_integral_v<T>) {
      if (i.atomic == Atomic::bit_and) return static_cast<T>(old & value);
      if (i.atomic == Atomic::bit_or) return static_cast<T>(old | value);
      if (i.atomic == Atomic::bit_xor) return static_cast<T>(old ^ value);
      using M = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<M>(old) + static_cast<M>(value));
    } else {
      return old + value;
    }
  }

  const Module& module_;
  const Kernel& kernel_;
  const Launch& launch_;
  std::span<const std::byte> arguments_;
  GlobalMemory& memory_;
  std::vector<InstructionCounts> counts_;
  std::vector<std::byte> shared_;
  std::vector<Warp> warps_;
  std::array<std::uint32_t, 3> block_{};
  std::uint64_t steps_ = 0;
};

}  // namespace

Outcome run(const Module& module, const Kernel& kernel, const Launch& launch, std::span<const std::byte> arguments, GlobalMemory& memory) {
  return Machine(module, kernel, launch, arguments, memory).run();
}

}  // namespace leafcutter::ptx
