// Values of lanes as numbers and back, and functions of numbers as functions of all lanes.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "base/half.h"
#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

struct Half {
  std::uint16_t bits;
};

template <class T>
T value_of(Lane bits) {
  if constexpr (std::is_same_v<T, bool>)
    return (bits & 1) != 0;
  else if constexpr (std::is_same_v<T, Half>)
    return Half{static_cast<std::uint16_t>(bits)};
  else if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<double>(bits);
  else
    return static_cast<T>(bits);
}

template <class T>
Lane lane_of(T value) {
  if constexpr (std::is_same_v<T, Half>)
    return value.bits;
  else if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<std::uint32_t>(value);
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(value);
  else if constexpr (std::is_same_v<T, bool>)
    return value ? 1 : 0;
  else
    return static_cast<std::make_unsigned_t<T>>(value);
}

inline float number(Half h) { return float_from_half(h.bits); }
inline Half half(float f) { return {half_from_float(f)}; }

// Function: a captureless lambda of In... (and, with the instruction first, of its settings).
template <class Function, class... In, std::size_t... i>
void run_lanes(const Instruction& instruction, Registers& registers, std::uint32_t lanes, std::index_sequence<i...>) {
  const Lane* const in[] = {registers[instruction.in[i]]...};
  Lane* const out = registers[instruction.out[0]];
  const auto one = [&](unsigned lane) {
    if constexpr (std::is_invocable_v<Function, const Instruction&, In...>)
      out[lane] = lane_of(Function{}(instruction, value_of<In>(in[i][lane])...));
    else
      out[lane] = lane_of(Function{}(value_of<In>(in[i][lane])...));
  };
  if (lanes == ~std::uint32_t{0}) {
    for (unsigned lane = 0; lane < kWarpLanes; lane++) one(lane);
  } else {
    for (unsigned lane = 0; lane < kWarpLanes; lane++)
      if ((lanes >> lane & 1) != 0) one(lane);
  }
}

template <class... In, class Function>
Compute lanes_of(Function) {
  return [](const Instruction& instruction, Registers& registers, std::uint32_t lanes) {
    run_lanes<Function, In...>(instruction, registers, lanes, std::index_sequence_for<In...>{});
  };
}

// Calls with a value of the C++ type that a PTX type computes in; bit types are unsigned numbers. False where types of that kind are not `allowed`.
template <class Use>
bool with_integer(Type type, Use&& use) {
  switch (type) {
    case Type::b8:
    case Type::u8:
      return use(std::uint8_t{}), true;
    case Type::s8:
      return use(std::int8_t{}), true;
    case Type::b16:
    case Type::u16:
      return use(std::uint16_t{}), true;
    case Type::s16:
      return use(std::int16_t{}), true;
    case Type::b32:
    case Type::u32:
      return use(std::uint32_t{}), true;
    case Type::s32:
      return use(std::int32_t{}), true;
    case Type::b64:
    case Type::u64:
      return use(std::uint64_t{}), true;
    case Type::s64:
      return use(std::int64_t{}), true;
    default:
      return false;
  }
}

template <class Use>
bool with_float(Type type, Use&& use) {
  if (type == Type::f32) return use(float{}), true;
  if (type == Type::f64) return use(double{}), true;
  return false;
}

}  // namespace leafcutter::ptx
