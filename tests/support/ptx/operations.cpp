#include "tests/support/ptx/operations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tests/support/ptx/lane_values.h"

namespace leafcutter::ptx {

Modifiers::Modifiers(std::string_view opcode, int line) : opcode_(opcode), line_(line) {
  std::size_t begin = 0;
  while (begin <= opcode.size()) {
    const std::size_t dot = std::min(opcode.find('.', begin), opcode.size());
    words_.emplace_back(opcode.substr(begin, dot - begin));
    begin = dot + 1;
  }
  name_ = words_.front();
  words_.erase(words_.begin());
}

const std::string& Modifiers::next() const {
  if (empty()) fail("a modifier is missing");
  return words_.front();
}

bool Modifiers::take(std::string_view word) {
  if (empty() || words_.front() != word) return false;
  words_.erase(words_.begin());
  return true;
}

Type Modifiers::take_type() {
  const std::optional<Type> type = take(type_named);
  if (!type) fail(empty() ? "the type is missing" : "'" + words_.front() + "' is no type");
  return *type;
}

void Modifiers::finish() const {
  if (!empty()) fail("the modifier '" + words_.front() + "' is not known");
}

void Modifiers::fail(const std::string& problem) const { throw Error(line_, opcode_, problem); }

namespace {

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

template <class T>
using Wide =
    std::conditional_t<std::is_signed_v<T>,
                       std::conditional_t<sizeof(T) == 2, std::int32_t, std::conditional_t<sizeof(T) == 4, std::int64_t, Int128>>,
                       std::conditional_t<sizeof(T) == 2, std::uint32_t, std::conditional_t<sizeof(T) == 4, std::uint64_t, UInt128>>>;

// Integers compute modulo 2^width, without the undefined behaviour of C++'s signed ones.
template <class T>
using Modular = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

unsigned words_of(Type type) { return type == Type::pred ? 1 : (bytes_of(type) + 3) / 4; }

// Integer and bit operations on two registers take two machine instructions.
Operation integer_operation(Type type, std::size_t ins, unsigned slots = 1) {
  Operation op;
  op.out = type;
  op.in.assign(ins, type);
  op.issue_slots = op.unit_slots = slots * words_of(type);
  return op;
}

Operation float_operation(Type type, std::size_t ins) {
  Operation op;
  op.out = type;
  op.in.assign(ins, type);
  if (type == Type::f64) op.unit = Unit::double_width;
  if (type == Type::f16 || type == Type::f16x2) op.unit = Unit::half_float;
  return op;
}

// Subnormal inputs and results are zeros, as .ftz says.
float flushed(float f) { return std::fabs(f) < std::numeric_limits<float>::min() ? std::copysign(0.0f, f) : f; }

// f: a lambda of floats and doubles alike; halves are computed in float and rounded, which is exact for a single operation.
template <class Function>
Compute float_unary(Type type, bool flush, Function) {
  if (type == Type::f32 && flush) return lanes_of<float>([](float a) { return flushed(Function{}(flushed(a))); });
  if (type == Type::f32) return lanes_of<float>([](float a) { return static_cast<float>(Function{}(a)); });
  if (type == Type::f64) return lanes_of<double>([](double a) { return static_cast<double>(Function{}(a)); });
  if (type == Type::f16) return lanes_of<Half>([](Half a) { return half(static_cast<float>(Function{}(number(a)))); });
  return nullptr;
}

template <class Function>
Compute float_binary(Type type, bool flush, Function) {
  if (type == Type::f32 && flush)
    return lanes_of<float, float>([](float a, float b) { return flushed(Function{}(flushed(a), flushed(b))); });
  if (type == Type::f32) return lanes_of<float, float>([](float a, float b) { return static_cast<float>(Function{}(a, b)); });
  if (type == Type::f64) return lanes_of<double, double>([](double a, double b) { return static_cast<double>(Function{}(a, b)); });
  if (type == Type::f16) return lanes_of<Half, Half>([](Half a, Half b) { return half(Function{}(number(a), number(b))); });
  if (type == Type::f16x2)
    return lanes_of<std::uint32_t, std::uint32_t>([](std::uint32_t a, std::uint32_t b) {
      const auto part = [&](unsigned shift) {
        const auto of = [&](std::uint32_t pair) { return number(Half{static_cast<std::uint16_t>(pair >> shift)}); };
        return std::uint32_t{half(Function{}(of(a), of(b))).bits} << shift;
      };
      return part(0) | part(16);
    });
  return nullptr;
}

template <class Function>
Compute integer_binary(Type type, Function) {
  Compute compute = nullptr;
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    compute = lanes_of<T, T>([](T a, T b) { return static_cast<T>(Function{}(a, b)); });
  });
  return compute;
}

Operation require(Modifiers& m, Operation op) {
  if (op.compute == nullptr) m.fail("not for this type");
  return op;
}

void take_plain_rounding(Modifiers& m) { m.take("rn"); }

template <class Function>
Operation add_or_subtract(Modifiers& m, Function function) {
  take_plain_rounding(m);
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  if (is_float(type)) {
    Operation op = float_operation(type, 2);
    op.compute = float_binary(type, flush, function);
    return require(m, op);
  }
  Operation op = integer_operation(type, 2);
  op.compute = integer_binary(type, [](auto a, auto b) {
    using M = Modular<decltype(a)>;
    return Function{}(static_cast<M>(a), static_cast<M>(b));
  });
  return require(m, op);
}

Operation add(Modifiers& m) {
  return add_or_subtract(m, [](auto a, auto b) { return a + b; });
}
Operation subtract(Modifiers& m) {
  return add_or_subtract(m, [](auto a, auto b) { return a - b; });
}

enum class Part { low, high, wide };

Part take_half(Modifiers& m) {
  if (m.take("lo")) return Part::low;
  if (m.take("hi")) return Part::high;
  if (m.take("wide")) return Part::wide;
  m.fail("lo, hi or wide is missing");
}

Type wide_type(Modifiers& m, Type type) {
  switch (type) {
    case Type::u16:
      return Type::u32;
    case Type::s16:
      return Type::s32;
    case Type::u32:
      return Type::u64;
    case Type::s32:
      return Type::s64;
    default:
      m.fail("not for this type");
  }
}

// Pascal multiplies 16 by 16 bits: 3 such instructions for the low half of 32 by 32, 4 for the whole, about 10 for 64 by 64.
unsigned multiply_slots(Type type, Part part) {
  if (bytes_of(type) == 8) return 10;
  if (bytes_of(type) == 2) return 1;
  return part == Part::low ? 3 : part == Part::wide ? 4 : 5;
}

template <bool add_third>
Operation multiply_integers(Modifiers& m, Part part, Type type) {
  Operation op = integer_operation(type, add_third ? 3 : 2);
  op.issue_slots = op.unit_slots = multiply_slots(type, part);
  if (part == Part::wide) op.out = wide_type(m, type);
  if (add_third) op.in[2] = op.out;
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) >= 2) {
      using W = Wide<T>;
      if (part == Part::wide) {
        if constexpr (sizeof(T) < 8) {
          using M = std::make_unsigned_t<W>;
          if constexpr (add_third)
            op.compute = lanes_of<T, T, M>([](T a, T b, M c) { return static_cast<M>(static_cast<M>(W{a} * W{b}) + c); });
          else
            op.compute = lanes_of<T, T>([](T a, T b) { return W{a} * W{b}; });
        }
      } else if (part == Part::high) {
        if constexpr (add_third)
          op.compute = lanes_of<T, T, T>([](T a, T b, T c) {
            return static_cast<T>(static_cast<Modular<T>>((W{a} * W{b}) >> (8 * sizeof(T))) + static_cast<Modular<T>>(c));
          });
        else
          op.compute = lanes_of<T, T>([](T a, T b) { return static_cast<T>((W{a} * W{b}) >> (8 * sizeof(T))); });
      } else {
        using M = Modular<T>;
        if constexpr (add_third)
          op.compute =
              lanes_of<T, T, T>([](T a, T b, T c) { return static_cast<T>(static_cast<M>(a) * static_cast<M>(b) + static_cast<M>(c)); });
        else
          op.compute = lanes_of<T, T>([](T a, T b) { return static_cast<T>(static_cast<M>(a) * static_cast<M>(b)); });
      }
    }
  });
  return require(m, op);
}

bool next_is_half(Modifiers& m) { return !m.empty() && (m.next() == "lo" || m.next() == "hi" || m.next() == "wide"); }

Operation multiply(Modifiers& m) {
  if (next_is_half(m)) {
    const Part part = take_half(m);
    return multiply_integers<false>(m, part, m.take_type());
  }
  take_plain_rounding(m);
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  Operation op = float_operation(type, 2);
  op.compute = float_binary(type, flush, [](auto a, auto b) { return a * b; });
  return require(m, op);
}

Operation multiply_add(Modifiers& m) {
  const Part part = take_half(m);
  return multiply_integers<true>(m, part, m.take_type());
}

Operation fused_multiply_add(Modifiers& m) {
  if (!m.take("rn")) m.fail("only rounding to nearest (.rn) is known");
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  Operation op = float_operation(type, 3);
  if (type == Type::f32 && flush)
    op.compute =
        lanes_of<float, float, float>([](float a, float b, float c) { return flushed(std::fma(flushed(a), flushed(b), flushed(c))); });
  else if (type == Type::f32)
    op.compute = lanes_of<float, float, float>([](float a, float b, float c) { return std::fma(a, b, c); });
  else if (type == Type::f64)
    op.compute = lanes_of<double, double, double>([](double a, double b, double c) { return std::fma(a, b, c); });
  return require(m, op);
}

Operation divide(Modifiers& m) {
  const bool approximate = m.take("approx") || m.take("full");
  take_plain_rounding(m);
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  if (is_float(type)) {
    Operation op = float_operation(type, 2);
    op.compute = type == Type::f16 ? nullptr : float_binary(type, flush, [](auto a, auto b) { return a / b; });
    op.issue_slots = approximate ? 2 : 10;
    op.unit_slots = op.issue_slots;
    return require(m, op);
  }
  Operation op = integer_operation(type, 2, bytes_of(type) == 8 ? 50 : 20);
  // Division by zero gives an unspecified value; so does the one quotient that does not fit.
  op.compute = integer_binary(type, [](auto a, auto b) {
    using T = decltype(a);
    if (b == 0 || (std::is_signed_v<T> && a == std::numeric_limits<T>::min() && b == static_cast<T>(-1))) return static_cast<T>(-1);
    return static_cast<T>(a / b);
  });
  return require(m, op);
}

Operation remainder(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 2, bytes_of(type) == 8 ? 50 : 20);
  op.compute = integer_binary(type, [](auto a, auto b) {
    using T = decltype(a);
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return T{0};
    return static_cast<T>(a % b);
  });
  return require(m, op);
}

template <class FloatFunction, class IntegerFunction>
Operation least_or_most(Modifiers& m, FloatFunction of_floats, IntegerFunction of_integers) {
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  if (is_float(type)) {
    Operation op = float_operation(type, 2);
    if (type == Type::f32 || type == Type::f64) op.compute = float_binary(type, flush, of_floats);
    op.unit = type == Type::f32 ? Unit::slow_arithmetic : op.unit;
    return require(m, op);
  }
  Operation op = integer_operation(type, 2);
  op.compute = integer_binary(type, of_integers);
  op.unit = Unit::slow_arithmetic;
  return require(m, op);
}

Operation least(Modifiers& m) {
  return least_or_most(
      m, [](auto a, auto b) { return std::fmin(a, b); }, [](auto a, auto b) { return std::min(a, b); });
}
Operation most(Modifiers& m) {
  return least_or_most(
      m, [](auto a, auto b) { return std::fmax(a, b); }, [](auto a, auto b) { return std::max(a, b); });
}

template <class FloatFunction>
Operation sign_operation(Modifiers& m, FloatFunction of_floats, Compute (*of_integers)(Type)) {
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  Operation op = is_float(type) ? float_operation(type, 1) : integer_operation(type, 1);
  op.compute = is_float(type) ? float_unary(type, flush, of_floats) : of_integers(type);
  return require(m, op);
}

Operation negate(Modifiers& m) {
  return sign_operation(
      m, [](auto a) { return -a; },
      [](Type type) {
        Compute compute = nullptr;
        with_integer(type, [&](auto zero) {
          using T = decltype(zero);
          compute = lanes_of<T>([](T a) { return static_cast<T>(Modular<T>{0} - static_cast<Modular<T>>(a)); });
        });
        return compute;
      });
}

Operation absolute(Modifiers& m) {
  return sign_operation(
      m, [](auto a) { return std::fabs(a); },
      [](Type type) {
        Compute compute = nullptr;
        with_integer(type, [&](auto zero) {
          using T = decltype(zero);
          compute = lanes_of<T>([](T a) { return a < T{0} ? static_cast<T>(Modular<T>{0} - static_cast<Modular<T>>(a)) : a; });
        });
        return compute;
      });
}

template <class Function>
Operation bitwise(Modifiers& m, Function) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 2);
  if (type == Type::pred)
    op.compute =
        lanes_of<std::uint8_t, std::uint8_t>([](std::uint8_t a, std::uint8_t b) { return static_cast<std::uint8_t>(Function{}(a, b)); });
  else
    op.compute = integer_binary(type, [](auto a, auto b) { return static_cast<decltype(a)>(Function{}(a, b)); });
  return require(m, op);
}

Operation bit_and(Modifiers& m) {
  return bitwise(m, [](auto a, auto b) { return a & b; });
}
Operation bit_or(Modifiers& m) {
  return bitwise(m, [](auto a, auto b) { return a | b; });
}
Operation bit_xor(Modifiers& m) {
  return bitwise(m, [](auto a, auto b) { return a ^ b; });
}

Operation bit_not(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 1);
  if (type == Type::pred) op.compute = lanes_of<bool>([](bool a) { return !a; });
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    op.compute = lanes_of<T>([](T a) { return static_cast<T>(~a); });
  });
  return require(m, op);
}

Operation shift(Modifiers& m, bool left) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 2);
  op.in[1] = Type::u32;
  op.unit = Unit::slow_arithmetic;
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    constexpr std::uint32_t kBits = 8 * sizeof(T);
    if (left)
      op.compute = lanes_of<T, std::uint32_t>(
          [](T a, std::uint32_t by) { return by >= kBits ? T{0} : static_cast<T>(static_cast<Modular<T>>(a) << by); });
    else
      op.compute = lanes_of<T, std::uint32_t>([](T a, std::uint32_t by) {
        if (by >= kBits) return a < T{0} ? static_cast<T>(-1) : T{0};
        return static_cast<T>(a >> by);
      });
  });
  return require(m, op);
}

Operation shift_left(Modifiers& m) { return shift(m, true); }
Operation shift_right(Modifiers& m) { return shift(m, false); }

// d = the upper (left) or lower (right) half of b:a shifted by c.
Operation funnel_shift(Modifiers& m) {
  const bool left = m.take("l");
  if (!left && !m.take("r")) m.fail("l or r is missing");
  const bool wrap = m.take("wrap");
  if (!wrap && !m.take("clamp")) m.fail("wrap or clamp is missing");
  if (m.take_type() != Type::b32) m.fail("not for this type");
  Operation op = integer_operation(Type::b32, 3);
  op.unit = Unit::slow_arithmetic;
  using U = std::uint32_t;
  if (left && wrap)
    op.compute = lanes_of<U, U, U>([](U a, U b, U c) { return static_cast<U>((std::uint64_t{b} << 32 | a) << (c & 31) >> 32); });
  else if (left)
    op.compute = lanes_of<U, U, U>([](U a, U b, U c) { return static_cast<U>((std::uint64_t{b} << 32 | a) << std::min(c, U{32}) >> 32); });
  else if (wrap)
    op.compute = lanes_of<U, U, U>([](U a, U b, U c) { return static_cast<U>((std::uint64_t{b} << 32 | a) >> (c & 31)); });
  else
    op.compute = lanes_of<U, U, U>([](U a, U b, U c) { return static_cast<U>((std::uint64_t{b} << 32 | a) >> std::min(c, U{32})); });
  return op;
}

Operation extract_bits(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 3);
  op.in[1] = op.in[2] = Type::u32;
  op.unit = Unit::slow_arithmetic;
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) >= 4)
      op.compute = lanes_of<T, std::uint32_t, std::uint32_t>([](T a, std::uint32_t begin, std::uint32_t length) {
        using U = std::make_unsigned_t<T>;
        constexpr unsigned kBits = 8 * sizeof(T);
        begin &= 255;
        length &= 255;
        if (length == 0) return T{0};
        const unsigned last = std::min(begin + length - 1, kBits - 1);
        const bool sign = std::is_signed_v<T> && (static_cast<U>(a) >> last & 1) != 0;
        const U shifted = begin >= kBits ? U{0} : static_cast<U>(static_cast<U>(a) >> begin);
        const unsigned kept = begin >= kBits ? 0 : std::min(length, kBits - begin);
        const U mask = kept >= kBits ? ~U{0} : (U{1} << kept) - 1;
        return static_cast<T>((shifted & mask) | (sign ? ~mask : U{0}));
      });
  });
  return require(m, op);
}

Operation insert_bits(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 4);
  op.in[2] = op.in[3] = Type::u32;
  op.unit = Unit::slow_arithmetic;
  with_integer(type, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) >= 4 && std::is_unsigned_v<T>)
      op.compute = lanes_of<T, T, std::uint32_t, std::uint32_t>([](T a, T b, std::uint32_t begin, std::uint32_t length) {
        constexpr unsigned kBits = 8 * sizeof(T);
        begin &= 255;
        length &= 255;
        if (length == 0 || begin >= kBits) return b;
        const T mask = static_cast<T>((length >= kBits ? ~T{0} : (T{1} << length) - 1) << begin);
        return static_cast<T>((b & ~mask) | (a << begin & mask));
      });
  });
  return require(m, op);
}

Operation permute_bytes(Modifiers& m) {
  if (m.take_type() != Type::b32) m.fail("not for this type");
  Operation op = integer_operation(Type::b32, 3);
  op.unit = Unit::slow_arithmetic;
  using U = std::uint32_t;
  op.compute = lanes_of<U, U, U>([](U a, U b, U choice) {
    const std::uint64_t bytes = std::uint64_t{b} << 32 | a;
    U result = 0;
    for (unsigned i = 0; i < 4; i++) {
      const U which = choice >> 4 * i & 15;
      U byte = static_cast<U>(bytes >> 8 * (which & 7) & 255);
      if ((which & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
      result |= byte << 8 * i;
    }
    return result;
  });
  return op;
}

Operation three_input_logic(Modifiers& m) {
  if (m.take_type() != Type::b32) m.fail("not for this type");
  Operation op = integer_operation(Type::b32, 4);
  using U = std::uint32_t;
  op.compute = lanes_of<U, U, U, U>([](U a, U b, U c, U table) {
    U result = 0;
    for (unsigned i = 0; i < 8; i++)
      if ((table >> i & 1) != 0) result |= ((i & 4) != 0 ? a : ~a) & ((i & 2) != 0 ? b : ~b) & ((i & 1) != 0 ? c : ~c);
    return result;
  });
  return op;
}

template <class Function>
Operation count_bits(Modifiers& m, Function) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 1);
  op.out = Type::u32;
  op.unit = Unit::conversion;
  if (type == Type::b32) op.compute = lanes_of<std::uint32_t>([](std::uint32_t a) { return static_cast<std::uint32_t>(Function{}(a)); });
  if (type == Type::b64) op.compute = lanes_of<std::uint64_t>([](std::uint64_t a) { return static_cast<std::uint32_t>(Function{}(a)); });
  return require(m, op);
}

Operation count_ones(Modifiers& m) {
  return count_bits(m, [](auto a) { return std::popcount(a); });
}
Operation count_leading_zeros(Modifiers& m) {
  return count_bits(m, [](auto a) { return std::countl_zero(a); });
}

Operation reverse_bits(Modifiers& m) {
  if (m.take_type() != Type::b32) m.fail("not for this type");
  Operation op = integer_operation(Type::b32, 1);
  op.unit = Unit::slow_arithmetic;
  op.compute = lanes_of<std::uint32_t>([](std::uint32_t a) {
    std::uint32_t reversed = 0;
    for (unsigned i = 0; i < 32; i++) reversed |= (a >> i & 1) << (31 - i);
    return reversed;
  });
  return op;
}

// Comparisons of integers by name, of floats with their unordered kin (equ: equal or not comparable).
template <class T>
Compute comparison(const std::string& name) {
  constexpr bool kFloat = std::is_floating_point_v<T>;
  const auto is = [&](std::string_view plain, [[maybe_unused]] std::string_view unsigned_name) {
    return name == plain || (!kFloat && std::is_unsigned_v<T> && name == unsigned_name);
  };
  if (name == "eq") return lanes_of<T, T>([](T a, T b) { return a == b; });
  if (name == "ne") return lanes_of<T, T>([](T a, T b) { return kFloat ? a < b || a > b : a != b; });
  if (is("lt", "lo")) return lanes_of<T, T>([](T a, T b) { return a < b; });
  if (is("le", "ls")) return lanes_of<T, T>([](T a, T b) { return a <= b; });
  if (is("gt", "hi")) return lanes_of<T, T>([](T a, T b) { return a > b; });
  if (is("ge", "hs")) return lanes_of<T, T>([](T a, T b) { return a >= b; });
  if constexpr (kFloat) {
    if (name == "equ") return lanes_of<T, T>([](T a, T b) { return !(a < b || a > b); });
    if (name == "neu") return lanes_of<T, T>([](T a, T b) { return a != b; });
    if (name == "ltu") return lanes_of<T, T>([](T a, T b) { return !(a >= b); });
    if (name == "leu") return lanes_of<T, T>([](T a, T b) { return !(a > b); });
    if (name == "gtu") return lanes_of<T, T>([](T a, T b) { return !(a <= b); });
    if (name == "geu") return lanes_of<T, T>([](T a, T b) { return !(a < b); });
    if (name == "num") return lanes_of<T, T>([](T a, T b) { return !std::isnan(a) && !std::isnan(b); });
    if (name == "nan") return lanes_of<T, T>([](T a, T b) { return std::isnan(a) || std::isnan(b); });
  }
  return nullptr;
}

Operation set_predicate(Modifiers& m) {
  const std::string name = m.next();
  m.take(name);
  m.take("ftz");  // of what the kernels compare, subnormals are no part
  const Type type = m.take_type();
  Operation op;
  op.out = Type::pred;
  op.in = {type, type};
  op.unit = type == Type::f64 ? Unit::double_width : Unit::slow_arithmetic;
  op.issue_slots = op.unit_slots = type == Type::f64 ? 1 : words_of(type);
  with_integer(type, [&](auto zero) { op.compute = comparison<decltype(zero)>(name); });
  with_float(type, [&](auto zero) { op.compute = comparison<decltype(zero)>(name); });
  if (op.compute == nullptr) m.fail("the comparison '" + name + "' is not known for this type");
  return op;
}

Operation select(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 3);
  op.in[2] = Type::pred;
  const auto choose = [&](auto zero) {
    using T = decltype(zero);
    op.compute = lanes_of<T, T, bool>([](T a, T b, bool first) { return first ? a : b; });
  };
  with_integer(type, choose);
  with_float(type, choose);
  return require(m, op);
}

Operation copy_sign(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = float_operation(type, 2);
  if (type == Type::f32) op.compute = lanes_of<float, float>([](float sign, float value) { return std::copysign(value, sign); });
  return require(m, op);
}

// Computed in double and rounded: a card's results differ from these by a unit or two in the last place.
template <class Function>
Operation special_function(Modifiers& m, Function, unsigned exact_slots) {
  const bool approximate = m.take("approx");
  if (!approximate && (exact_slots == 0 || !m.take("rn"))) m.fail("approx or rn is missing, or there is no such form");
  const bool flush = m.take("ftz");
  const Type type = m.take_type();
  Operation op = float_operation(type, 1);
  op.unit = type == Type::f64 ? Unit::double_width : Unit::conversion;
  op.issue_slots = approximate ? 1 : exact_slots;
  if (type == Type::f32 && flush)
    op.compute = lanes_of<float>([](float a) { return flushed(static_cast<float>(Function{}(static_cast<double>(flushed(a))))); });
  else if (type == Type::f32)
    op.compute = lanes_of<float>([](float a) { return static_cast<float>(Function{}(static_cast<double>(a))); });
  else if (type == Type::f64)
    op.compute = lanes_of<double>([](double a) { return Function{}(a); });
  return require(m, op);
}

Operation reciprocal(Modifiers& m) {
  return special_function(
      m, [](double a) { return 1 / a; }, 6);
}
Operation square_root(Modifiers& m) {
  return special_function(
      m, [](double a) { return std::sqrt(a); }, 8);
}
Operation reciprocal_square_root(Modifiers& m) {
  return special_function(
      m, [](double a) { return 1 / std::sqrt(a); }, 0);
}
Operation power_of_two(Modifiers& m) {
  return special_function(
      m, [](double a) { return std::exp2(a); }, 0);
}
Operation logarithm(Modifiers& m) {
  return special_function(
      m, [](double a) { return std::log2(a); }, 0);
}

// d = c + the sum of four products of bytes.
Operation dot_product(Modifiers& m) {
  const Type a = m.take_type(), b = m.take_type();
  Operation op;
  op.out = a == Type::u32 && b == Type::u32 ? Type::u32 : Type::s32;
  op.in = {a, b, op.out};
  op.unit = Unit::dot;
  using U = std::uint32_t;
  const auto compute = [&](auto a_zero, auto b_zero) {
    using A = decltype(a_zero);
    using B = decltype(b_zero);
    op.compute = lanes_of<U, U, U>([](U x, U y, U sum) {
      for (unsigned i = 0; i < 32; i += 8) sum += static_cast<U>(int{static_cast<A>(x >> i)} * int{static_cast<B>(y >> i)});
      return sum;
    });
  };
  using I = std::int8_t;
  using B = std::uint8_t;
  if (a == Type::s32 && b == Type::s32) compute(I{}, I{});
  if (a == Type::s32 && b == Type::u32) compute(I{}, B{});
  if (a == Type::u32 && b == Type::s32) compute(B{}, I{});
  if (a == Type::u32 && b == Type::u32) compute(B{}, B{});
  return require(m, op);
}

Operation move(Modifiers& m) {
  const Type type = m.take_type();
  Operation op = integer_operation(type, 1);
  const auto copy = [&](auto zero) {
    using T = decltype(zero);
    op.compute = lanes_of<T>([](T a) { return a; });
  };
  if (type == Type::pred) copy(bool{});
  with_integer(type, copy);
  with_float(type, copy);
  return require(m, op);
}

}  // namespace

Compute joining_of_parts() {
  return [](const Instruction& i, Registers& registers, std::uint32_t lanes) {
    const unsigned bits = 8 * std::min(bytes_of(i.type), 4u);
    for (unsigned lane = 0; lane < kWarpLanes; lane++) {
      if ((lanes >> lane & 1) == 0) continue;
      Lane joined = 0;
      for (unsigned part = 0; part < i.ins; part++) joined |= (registers[i.in[part]][lane] & ((Lane{1} << bits) - 1)) << bits * part;
      registers[i.out[0]][lane] = joined;
    }
  };
}

Compute splitting_into_parts() {
  return [](const Instruction& i, Registers& registers, std::uint32_t lanes) {
    const unsigned bits = 8 * std::min(bytes_of(i.type), 4u);
    for (unsigned lane = 0; lane < kWarpLanes; lane++) {
      if ((lanes >> lane & 1) == 0) continue;
      const Lane whole = registers[i.in[0]][lane];
      for (unsigned part = 0; part < i.outs; part++) registers[i.out[part]][lane] = whole >> bits * part & ((Lane{1} << bits) - 1);
    }
  };
}

Compute address_conversion_of(Space space, bool to) {
  using A = std::uint64_t;
  if (space == Space::global || space == Space::constant || space == Space::param) return lanes_of<A>([](A a) { return a; });
  if (space == Space::shared && to) return lanes_of<A>([](A a) { return a - kSharedWindow; });
  if (space == Space::shared) return lanes_of<A>([](A a) { return a + kSharedWindow; });
  if (space == Space::local && to) return lanes_of<A>([](A a) { return a - kLocalWindow; });
  if (space == Space::local) return lanes_of<A>([](A a) { return a + kLocalWindow; });
  return nullptr;
}

Operation operation_of(Modifiers& m) {
  static const std::map<std::string, Operation (*)(Modifiers&), std::less<>> kOperations = {{"add", add},
                                                                                            {"sub", subtract},
                                                                                            {"mul", multiply},
                                                                                            {"mad", multiply_add},
                                                                                            {"fma", fused_multiply_add},
                                                                                            {"div", divide},
                                                                                            {"rem", remainder},
                                                                                            {"min", least},
                                                                                            {"max", most},
                                                                                            {"neg", negate},
                                                                                            {"abs", absolute},
                                                                                            {"and", bit_and},
                                                                                            {"or", bit_or},
                                                                                            {"xor", bit_xor},
                                                                                            {"not", bit_not},
                                                                                            {"shl", shift_left},
                                                                                            {"shr", shift_right},
                                                                                            {"shf", funnel_shift},
                                                                                            {"bfe", extract_bits},
                                                                                            {"bfi", insert_bits},
                                                                                            {"prmt", permute_bytes},
                                                                                            {"lop3", three_input_logic},
                                                                                            {"popc", count_ones},
                                                                                            {"clz", count_leading_zeros},
                                                                                            {"brev", reverse_bits},
                                                                                            {"setp", set_predicate},
                                                                                            {"selp", select},
                                                                                            {"copysign", copy_sign},
                                                                                            {"rcp", reciprocal},
                                                                                            {"sqrt", square_root},
                                                                                            {"rsqrt", reciprocal_square_root},
                                                                                            {"ex2", power_of_two},
                                                                                            {"lg2", logarithm},
                                                                                            {"dp4a", dot_product},
                                                                                            {"mov", move},
                                                                                            {"cvt", conversion_of}};
  const auto found = kOperations.find(m.name());
  if (found == kOperations.end()) m.fail("the opcode is not known");
  Operation op = found->second(m);
  m.finish();
  return op;
}

}  // namespace leafcutter::ptx
