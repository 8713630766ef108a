// cvt: from any number type to any other, with its roundings.
#include <cmath>
#include <limits>

#include "tests/support/ptx/lane_values.h"
#include "tests/support/ptx/operations.h"

namespace leafcutter::ptx {
namespace {

// Holds every value of every type exactly.
using Exact = long double;
static_assert(std::numeric_limits<Exact>::digits >= 64);

template <class T>
Exact exact(T value) {
  if constexpr (std::is_same_v<T, Half>)
    return number(value);
  else
    return value;
}

Exact rounded_to_integer(Exact value, Rounding rounding) {
  switch (rounding) {
    case Rounding::integer_zero:
    case Rounding::zero:
      return std::trunc(value);
    case Rounding::integer_down:
    case Rounding::down:
      return std::floor(value);
    case Rounding::integer_up:
    case Rounding::up:
      return std::ceil(value);
    default:
      return std::nearbyint(value);
  }
}

// The nearest T, then a step where the rounding asks for the other neighbour.
template <class T>
T rounded_to_float(Exact value, Rounding rounding) {
  const T nearest = static_cast<T>(value);
  if (std::isnan(value) || std::isinf(value)) return nearest;
  const T infinity = std::numeric_limits<T>::infinity();
  const bool down = rounding == Rounding::down || (rounding == Rounding::zero && value > 0);
  const bool up = rounding == Rounding::up || (rounding == Rounding::zero && value < 0);
  if (down && Exact{nearest} > value) return std::nextafter(nearest, -infinity);
  if (up && Exact{nearest} < value) return std::nextafter(nearest, infinity);
  return nearest;
}

template <class To, class From>
To converted(const Instruction& instruction, From from) {
  constexpr bool kFromFloat = std::is_floating_point_v<From> || std::is_same_v<From, Half>;
  if constexpr (std::is_same_v<To, Half>) {
    // By way of float, which is exact for every From that the parser lets through.
    return half(rounded_to_float<float>(exact(from), Rounding::nearest));
  } else if constexpr (std::is_floating_point_v<To>) {
    if (instruction.rounding == Rounding::nearest && !instruction.saturate && !instruction.flush) {  // quick, and nearly all there is
      if constexpr (std::is_same_v<From, Half>)
        return static_cast<To>(number(from));
      else
        return static_cast<To>(from);
    }
    Exact value = exact(from);
    if (instruction.rounding >= Rounding::integer_nearest) value = std::copysign(rounded_to_integer(value, instruction.rounding), value);
    To result = rounded_to_float<To>(value, instruction.rounding);
    if (instruction.saturate) result = std::isnan(result) ? To{0} : std::fmin(std::fmax(result, To{0}), To{1});
    if (instruction.flush && std::fabs(result) < To{std::numeric_limits<float>::min()}) result = std::copysign(To{0}, result);
    return result;
  } else if constexpr (kFromFloat) {
    const Exact value = rounded_to_integer(exact(from), instruction.rounding);
    if (std::isnan(value)) return To{0};
    if (value <= Exact{std::numeric_limits<To>::min()}) return std::numeric_limits<To>::min();
    if (value >= Exact{std::numeric_limits<To>::max()}) return std::numeric_limits<To>::max();
    return static_cast<To>(value);
  } else {
    if (instruction.saturate) {
      const Exact value = from;
      if (value < Exact{std::numeric_limits<To>::min()}) return std::numeric_limits<To>::min();
      if (value > Exact{std::numeric_limits<To>::max()}) return std::numeric_limits<To>::max();
    }
    return static_cast<To>(from);
  }
}

// Results are extended to the width of the register by their sign.
template <class To, class From>
Compute conversion() {
  return [](const Instruction& instruction, Registers& registers, std::uint32_t lanes) {
    const Lane* const in = registers[instruction.in[0]];
    Lane* const out = registers[instruction.out[0]];
    for (unsigned lane = 0; lane < kWarpLanes; lane++) {
      if ((lanes >> lane & 1) == 0) continue;
      const To result = converted<To>(instruction, value_of<From>(in[lane]));
      if constexpr (std::is_integral_v<To> && std::is_signed_v<To>)
        out[lane] = static_cast<Lane>(std::int64_t{result}) & instruction.out_mask;
      else
        out[lane] = lane_of(result);
    }
  };
}

template <class Use>
bool with_number(Type type, Use&& use) {
  if (is_bits(type)) return false;
  if (type == Type::f16) return use(Half{}), true;
  return with_integer(type, use) || with_float(type, use);
}

}  // namespace

Operation conversion_of(Modifiers& m) {
  const std::optional<Rounding> rounding = m.take(rounding_named);
  const bool flush = m.take("ftz"), saturate = m.take("sat");
  const Type to = m.take_type(), from = m.take_type();
  Operation op;
  op.out = to;
  op.in = {from};
  op.any_width = true;
  op.flush = flush;
  op.saturate = saturate;
  op.rounding = rounding.value_or(Rounding::nearest);
  const bool integer_rounding = op.rounding >= Rounding::integer_nearest;
  if (is_float(from) && !is_float(to) && !(rounding && integer_rounding)) m.fail("a float becomes an integer by rni, rzi, rmi or rpi only");
  const bool narrows = is_float(from) && is_float(to) && bytes_of(to) < bytes_of(from);
  if ((narrows || (!is_float(from) && is_float(to))) && (!rounding || integer_rounding))
    m.fail("the rounding is missing: rn, rz, rm or rp");
  if (!is_float(from) && !is_float(to) && rounding) m.fail("integers are not rounded");
  if (to == Type::f16 && (op.rounding != Rounding::nearest || saturate || flush || (!narrows && bytes_of(from) > 2) || from == Type::f64))
    m.fail("only cvt.rn.f16.f32 and of 8 and 16 bit integers is known");

  const unsigned widest = std::max(bytes_of(to), bytes_of(from));
  if (is_float(from) || is_float(to)) {
    op.unit = widest == 8 ? Unit::double_width : Unit::conversion;
  } else if (bytes_of(from) < 4 && is_signed(from) && bytes_of(to) > bytes_of(from)) {
    op.unit = Unit::conversion;
  } else if (bytes_of(from) == 8 && bytes_of(to) <= 4 && !saturate) {
    op.issue_slots = op.unit_slots = 0;  // the lower register of a pair
  }
  with_number(to, [&](auto to_zero) {
    with_number(from, [&](auto from_zero) { op.compute = conversion<decltype(to_zero), decltype(from_zero)>(); });
  });
  if (op.compute == nullptr) m.fail("not for these types");
  return op;
}

}  // namespace leafcutter::ptx
