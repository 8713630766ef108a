// Rows of the key/value cache as floats in the lanes of a Simd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/kv_type.h"

namespace leafcutter::kernels {
namespace {

template <class S, KvType type>
class KvLanes {
 public:
  using Float = typename S::Float;

  explicit KvLanes(std::size_t head_dim)
      : dim_(head_dim),
        codes_((head_dim + kKvGroup - 1) / kKvGroup * kKvGroup),
        whole_(type == KvType::q8 ? codes_ : dim_ / S::kLanes * S::kLanes) {}

  // Values up to here come in whole registers: of q8 those that fill the last group, zeros, are read like the others.
  std::size_t whole() const { return whole_; }

  // Values i .. i + kLanes - 1; i a multiple of kLanes below whole().
  Float load(const std::byte* row, std::size_t i) const {
    if constexpr (type == KvType::f32) {
      return S::load(reinterpret_cast<const float*>(row) + i);
    } else if constexpr (type == KvType::f16) {
      return S::load_half(reinterpret_cast<const std::uint16_t*>(row) + i);
    } else {
      float scale;
      std::memcpy(&scale, row + codes_ + i / kKvGroup * sizeof scale, sizeof scale);
      return S::mul(S::load_int8(reinterpret_cast<const std::int8_t*>(row) + i), S::set1(scale));
    }
  }

  // The last head_dim % kLanes values, which must not be none, and zeros behind them.
  Float load_rest(const std::byte* row) const {
    const std::size_t begin = dim_ / S::kLanes * S::kLanes;
    if constexpr (type == KvType::f32) {
      return S::load_part(reinterpret_cast<const float*>(row) + begin, dim_ - begin);
    } else if constexpr (type == KvType::f16) {
      std::uint16_t rest[S::kLanes] = {};
      std::memcpy(rest, reinterpret_cast<const std::uint16_t*>(row) + begin, (dim_ - begin) * sizeof(std::uint16_t));
      return S::load_half(rest);
    } else {
      return load(row, begin);
    }
  }

  // Of the kLanes rows at rows + offset[0 ..]: to[c] gets value i + c of each. i as for load, i + kLanes <= head_dim.
  [[gnu::always_inline]] void load_turned(const std::byte* rows, const std::size_t* offset, std::size_t i, Float (&to)[S::kLanes]) const {
    if constexpr (type == KvType::f16 && S::kTurnsHalves) {
      S::load_halves_turned(rows + i * sizeof(std::uint16_t), offset, to);
    } else {
      for (std::size_t j = 0; j < S::kLanes; j++) to[j] = load(rows + offset[j], i);
      S::turn(to);
    }
  }
  void load_rest_turned(const std::byte* rows, const std::size_t* offset, Float (&to)[S::kLanes]) const {
    for (std::size_t j = 0; j < S::kLanes; j++) to[j] = load_rest(rows + offset[j]);
    S::turn(to);
  }

 private:
  std::size_t dim_, codes_, whole_;
};

}  // namespace
}  // namespace leafcutter::kernels
