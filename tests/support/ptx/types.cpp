#include "tests/support/ptx/types.h"

#include <iterator>

namespace leafcutter::ptx {
namespace {

template <class Value, std::size_t n>
std::optional<Value> find(const std::string_view (&names)[n], std::string_view name) {
  for (std::size_t i = 0; i < n; i++)
    if (names[i] == name) return static_cast<Value>(i);
  return {};
}

}  // namespace

std::optional<Type> type_named(std::string_view name) {
  static constexpr std::string_view kNames[] = {"b8",  "b16", "b32", "b64", "u8",    "u16", "u32", "u64", "s8",
                                                "s16", "s32", "s64", "f16", "f16x2", "f32", "f64", "pred"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Type::pred) + 1);
  return find<Type>(kNames, name);
}

std::optional<Space> space_named(std::string_view name) {
  static constexpr std::string_view kNames[] = {"generic", "global", "shared", "param", "const", "local"};
  return find<Space>(kNames, name);
}

std::optional<Rounding> rounding_named(std::string_view name) {
  static constexpr std::string_view kNames[] = {"rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi"};
  return find<Rounding>(kNames, name);
}

}  // namespace leafcutter::ptx
