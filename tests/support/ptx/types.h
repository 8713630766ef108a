// PTX's types, state spaces and roundings.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace leafcutter::ptx {

enum class Type : std::uint8_t { b8, b16, b32, b64, u8, u16, u32, u64, s8, s16, s32, s64, f16, f16x2, f32, f64, pred };
enum class Space : std::uint8_t { generic, global, shared, param, constant, local };
enum class Rounding : std::uint8_t { nearest, zero, down, up, integer_nearest, integer_zero, integer_down, integer_up };

constexpr unsigned bytes_of(Type type) {
  switch (type) {
    case Type::b8:
    case Type::u8:
    case Type::s8:
    case Type::pred:
      return 1;
    case Type::b16:
    case Type::u16:
    case Type::s16:
    case Type::f16:
      return 2;
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64:
      return 8;
    default:
      return 4;
  }
}
constexpr bool is_signed(Type t) { return t == Type::s8 || t == Type::s16 || t == Type::s32 || t == Type::s64; }
constexpr bool is_float(Type t) { return t == Type::f16 || t == Type::f16x2 || t == Type::f32 || t == Type::f64; }
constexpr bool is_bits(Type t) { return t == Type::b8 || t == Type::b16 || t == Type::b32 || t == Type::b64; }

// Of the name without its dot; nothing where there is no such type.
std::optional<Type> type_named(std::string_view name);
std::optional<Space> space_named(std::string_view name);
std::optional<Rounding> rounding_named(std::string_view name);

}  // namespace leafcutter::ptx
