// A PTX module ready to be run: kernels as lists of decoded instructions. Made by parser.h.
//
// Every operand is a slot, 32 lanes wide: registers, the special registers that a kernel reads, its constants and the addresses of its variables alike. So an instruction only knows slots.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/ptx/error.h"
#include "tests/support/ptx/types.h"

namespace leafcutter::ptx {

constexpr unsigned kWarpLanes = 32;
constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};

using Slot = std::uint32_t;

// Where generic addresses mean shared memory and a thread's own; global ones are what they are.
constexpr std::uint64_t kSharedWindow = std::uint64_t{1} << 60, kLocalWindow = std::uint64_t{1} << 61,
                        kWindowBytes = std::uint64_t{1} << 32;

// Of the special registers, in this order.
enum class Special : std::uint8_t { tid, ntid, ctaid, nctaid, laneid, warpid };

struct SlotInfo {
  enum class Kind : std::uint8_t {
    reg,
    special,
    constant,
    dynamic_shared
  } kind = Kind::reg;  // dynamic_shared: its value is where the static shared memory ends
  Type type = Type::b32;
  std::uint64_t value = 0;  // of a constant
  Special special = Special::tid;
  unsigned dimension = 0;  // x, y, z
};

// The part of a multiprocessor that an instruction keeps busy.
enum class Unit : std::uint8_t { arithmetic, dot, slow_arithmetic, conversion, double_width, half_float, memory, shuffle, control };
constexpr std::size_t kUnits = 9;

enum class Kind : std::uint8_t { compute, load, store, atomic, branch, barrier, warp_barrier, shuffle, vote, active_mask, exit, nothing };
enum class Exchange : std::uint8_t { up, down, butterfly, index };
enum class Vote : std::uint8_t { all, any, uniform, ballot };
enum class Atomic : std::uint8_t { add, min, max, exchange, compare_exchange, bit_and, bit_or, bit_xor };

struct Instruction;

// The registers of one warp.
using Lane = std::uint64_t;
class Registers {
 public:
  explicit Registers(std::size_t slots) : values_(slots * kWarpLanes) {}
  Lane* operator[](Slot slot) { return values_.data() + std::size_t{slot} * kWarpLanes; }
  const Lane* operator[](Slot slot) const { return values_.data() + std::size_t{slot} * kWarpLanes; }

 private:
  std::vector<Lane> values_;
};

using Compute = void (*)(const Instruction&, Registers&, std::uint32_t lanes);

struct Instruction {
  int line = 0;
  std::string opcode;  // with all its modifiers
  Kind kind = Kind::nothing;
  Unit unit = Unit::control;
  unsigned issue_slots = 1;  // in machine instructions, to first order
  unsigned unit_slots = 1;   // of the unit's
  Slot predicate = kNoSlot;
  bool predicate_negated = false;
  std::array<Slot, 4> out{};
  std::array<Slot, 6> in{};
  unsigned outs = 0, ins = 0;

  Compute compute = nullptr;
  Rounding rounding = Rounding::nearest;  // of conversions
  bool saturate = false, flush = false;
  std::uint64_t out_mask = ~std::uint64_t{0};  // of the register written by a load or a conversion

  // Memory: in[0] is the address, the values of a store follow.
  Space space = Space::generic;
  Type type = Type::b32;
  unsigned vector = 1;
  std::int64_t offset = 0;
  bool read_only = false;  // ld.global.nc
  Atomic atomic = Atomic::add;

  std::size_t target = 0, meeting = 0;  // of a branch; meeting: where those who take it and those who do not come together (control_flow.h)
  Exchange exchange = Exchange::index;
  Vote vote = Vote::all;
  bool negated = false;  // the predicate that is voted on
};

struct Kernel {
  std::string name;
  std::size_t parameter_bytes = 0;
  std::size_t shared_bytes = 0;  // static; dynamic shared memory begins here
  std::size_t local_bytes = 0;   // of each thread
  std::size_t most_threads = 1024;
  std::vector<SlotInfo> slots;
  std::vector<Instruction> code;
};

// Memory of a module's own, of its .const and .global variables.
struct Variable {
  std::string name;
  std::vector<std::uint64_t> storage;  // 8-byte words, for alignment
  std::size_t bytes = 0;
  bool constant = false;
};

struct Module {
  std::string version, target;
  unsigned address_size = 0;
  std::map<std::string, Kernel, std::less<>> kernels;
  std::vector<std::unique_ptr<Variable>> variables;

  // Throws std::runtime_error that lists the names.
  const Kernel& kernel(const std::string& name) const;
};

}  // namespace leafcutter::ptx
