// Products of many rows with AMX, Intel's matrix unit: a tile instruction takes 16 rows' activations (signed) times a group's codes (unsigned) of a strip's 16 rows, 8,192 products, in the time of some 16 of
// matmul_avx512.cpp's. What goes on behind the integers is done as there, operation by operation: the results are the same bits. Few rows, and float layouts, are left to it.
// Only for processors with AMX-INT8 whose system lets this process use it (isa.cpp).
//
// The weights' lines of 16 rows x 4 k are what the unit wants of its second operand, and records of activations what it wants of its first, 48 bytes from row to row: nothing is repacked.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/group_lanes_avx512.h"
#include "kernels/matmul_isa.h"
#include "kernels/strip_shape.h"

namespace leafcutter::kernels {
namespace {

constexpr std::size_t kTileRows = 16;
constexpr std::size_t kRowBlock = 4 * kTileRows;  // rows whose activations stay in the second-level cache beside the strips
constexpr std::size_t kFewestRows = 16;           // fewer are faster without tiles
constexpr std::size_t kLines = kGroupWidth / 4;   // of a group's codes in 8 bits: rows of the second operand

// What was written at `at` is there when the next tile instruction reads it: GCC 12's own intrinsics do not say that they read memory (of a configuration, only its first 8 bytes).
inline void written(const void* at) { asm volatile("" : : "r"(at) : "memory"); }

// As LDTILECFG reads it (Intel's Software Developer's Manual, volume 1, chapter 18).
struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1, first_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(std::size_t tile, std::size_t rows_of_tile, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(rows_of_tile);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileConfiguration) == 64);

// Tile 0: sums of 16 rows; 1: their activations; 2: codes; 3 and 4: sums and activations of the rows that are left. Gone at the end of the scope, so that nobody saves them.
class Tiles {
 public:
  explicit Tiles(std::size_t left) {
    left = std::max<std::size_t>(left, 1);
    TileConfiguration c;
    c.set(0, kTileRows, 64);
    c.set(1, kTileRows, kGroupWidth);
    c.set(2, kLines, 64);
    c.set(3, left, 64);
    c.set(4, left, kGroupWidth);
    written(&c);
    _tile_loadconfig(&c);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Sums of one group: [row][output].
using TileSums = std::int32_t[kTileRows * kStripRows];

// Tiles are named by numbers that stand in the program's text: hence one function for each number of rows.
inline void multiply_full(const ActivationGroup* x, const std::byte* codes, std::int32_t* sums) {
  _tile_zero(0);
  _tile_loadd(1, x->q, sizeof(ActivationGroup));
  _tile_loadd(2, codes, 64);
  _tile_dpbsud(0, 1, 2);
  _tile_stored(0, sums, 64);
}
inline void multiply_left(const ActivationGroup* x, const std::byte* codes, std::int32_t* sums) {
  _tile_zero(3);
  _tile_loadd(4, x->q, sizeof(ActivationGroup));
  _tile_loadd(2, codes, 64);
  _tile_dpbsud(3, 4, 2);
  _tile_stored(3, sums, 64);
}

// kGroups groups of a block, ready to meet rows.
template <Layout kLayout, std::size_t kGroups>
class BlockOfGroups {
 public:
  BlockOfGroups(const std::byte* block, const GroupFactors<kLayout>& factors) {
    for (std::size_t s = 0; s < kGroups; s++) {
      const std::byte* codes = block + kShape.block_head() + s * kShape.group_codes;
      codes_[s] = codes;
      if constexpr (kShape.bits == 4) {
        Ints u[2];
        for (std::size_t line = 0; line < kLines / 2; line++) {
          unpack_line<kLayout>(codes, line, u);
          for (std::size_t i = 0; i < 2; i++) _mm512_store_si512(unpacked_[s] + 64 * (2 * line + i), u[i]);
        }
        codes_[s] = unpacked_[s];
      }
      scale_[s] = factors.scale(block + s * kShape.group_head);
      if constexpr (kShape.minima) minimum_[s] = factors.minimum(block + s * kShape.group_head);
    }
    written(unpacked_);
  }

  // Integer sums of 16 rows, or of those that are left; x: the first row's record of the first group.
  void multiply(const ActivationGroup* x, std::size_t rows_of_block, bool left, TileSums* out) const {
    for (std::size_t s = 0; s < kGroups; s++, x += rows_of_block) {
      if (left)
        multiply_left(x, codes_[s], out[s]);
      else
        multiply_full(x, codes_[s], out[s]);
    }
  }

  // Adds them to the sums of the rows, group after group.
  void add(const ActivationGroup* x, std::size_t rows_of_block, std::size_t rows, const TileSums* from, Floats* sums) const {
    for (std::size_t r = 0; r < rows; r++) {
      Floats sum = sums[r];
#pragma GCC unroll 4
      for (std::size_t s = 0; s < kGroups; s++) {
        const ActivationGroup& group = x[s * rows_of_block + r];
        Ints dot = _mm512_load_si512(from[s] + kStripRows * r);
        if constexpr (!kShape.minima) dot = _mm512_add_epi32(dot, first_dot<kLayout>(group));
        sum = add_group<kLayout>(sum, dot, scale_[s], minimum_[s], group);
      }
      sums[r] = sum;
    }
  }

 private:
  static constexpr GroupShape kShape = group_shape(kLayout);
  const std::byte* codes_[kGroups];
  Floats scale_[kGroups], minimum_[kGroups] = {};
  alignas(64) std::byte unpacked_[kShape.bits == 4 ? kGroups : 1][64 * kLines];
};

// The integers of the next rows are under way while those of the last ones are added.
template <Layout kLayout, std::size_t kGroups>
void block_times_rows(const std::byte* block, const GroupFactors<kLayout>& factors, const ActivationGroup* x, std::size_t rows_of_block,
                      std::size_t rows, Floats* sums) {
  const BlockOfGroups<kLayout, kGroups> groups(block, factors);
  alignas(64) TileSums dots[2][kGroups];
  const std::size_t tiles = (rows + kTileRows - 1) / kTileRows, full = rows / kTileRows;
  groups.multiply(x, rows_of_block, full == 0, dots[0]);
  for (std::size_t t = 0; t < tiles; t++) {
    const std::size_t next = (t + 1) * kTileRows;
    if (t + 1 < tiles) groups.multiply(x + next, rows_of_block, t + 1 == full, dots[(t + 1) % 2]);
    groups.add(x + t * kTileRows, rows_of_block, std::min(kTileRows, rows - t * kTileRows), dots[t % 2], sums + t * kTileRows);
  }
}

template <Layout kLayout>
void strip_times_rows(const MatmulArgs& a, std::size_t strip, std::size_t row, std::size_t rows, Prefetch prefetch) {
  constexpr GroupShape kShape = group_shape(kLayout);
  const std::byte* base = a.weights + strip * strip_bytes(kLayout, a.k);
  const GroupFactors<kLayout> factors(base);
  Floats sums[kRowBlock];
  for (std::size_t r = 0; r < rows; r++) sums[r] = _mm512_setzero_ps();
  const std::size_t groups = activation_groups(a.k);
  const std::byte* block = base + kShape.front;
  for (std::size_t g = 0; g < groups; g += kGroupsPerBlock, block += kShape.block_bytes()) {
    const ActivationGroup* x = a.groups + g * a.rows + row;
    if (row == 0)
      for (std::size_t quarter = 0; quarter < kGroupsPerBlock; quarter++) prefetch_quarter<kLayout>(block, quarter, prefetch);
    switch (groups - g) {
      case 1:
        block_times_rows<kLayout, 1>(block, factors, x, a.rows, rows, sums);
        break;
      case 2:
        block_times_rows<kLayout, 2>(block, factors, x, a.rows, rows, sums);
        break;
      case 3:
        block_times_rows<kLayout, 3>(block, factors, x, a.rows, rows, sums);
        break;
      default:
        block_times_rows<kLayout, kGroupsPerBlock>(block, factors, x, a.rows, rows, sums);
    }
  }
  for (std::size_t r = 0; r < rows; r++) store_outputs(a, strip, row + r, sums[r]);
}

template <Layout kLayout>
void group_matmul(const MatmulArgs& a) {
  if (a.rows < kFewestRows) return matmul_avx512(kLayout)(a);
  const Prefetch prefetch = needs_software_prefetch() ? Prefetch::both_levels : Prefetch::first_level;
  const Tiles tiles(a.rows % kTileRows);
  for (std::size_t begin = 0; begin < a.rows; begin += kRowBlock)
    for (std::size_t s = 0; s < a.strips; s++) strip_times_rows<kLayout>(a, s, begin, std::min(kRowBlock, a.rows - begin), prefetch);
}

}  // namespace

Matmul matmul_amx(Layout layout) {
  return kernel_of(layout, []<Layout kLayout>() -> Matmul {
    if constexpr (group_shape(kLayout).group_codes > 0)
      return group_matmul<kLayout>;
    else
      return matmul_avx512(kLayout);
  });
}

}  // namespace leafcutter::kernels
