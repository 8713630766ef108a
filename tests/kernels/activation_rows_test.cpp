#include "kernels/activation_rows.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/isa.h"

using namespace leafcutter::kernels;

namespace {

struct Candidate {
  Isa isa;
  QuantizeRows run;
};
const Candidate kCandidates[] = {
    {Isa::portable, quantize_rows_portable}, {Isa::avx2, quantize_rows_avx2}, {Isa::avx512vnni, quantize_rows_avx512vnni}};

bool here(Isa isa) {
  for (const IsaInfo& info : isa_table())
    if (info.isa == isa) return info.here;
  return false;
}

}  // namespace

TEST_CASE("records hold the nearest codes of each group, and all instruction sets give the same ones") {
  std::mt19937 random(1);
  std::student_t_distribution<float> values(3);
  for (const std::size_t k : {1, 31, 32, 33, 64, 100, 577}) {
    const std::size_t rows = 3, groups = activation_groups(k);
    std::vector<float> x(rows * k);
    for (float& v : x) v = values(random);
    for (std::size_t i = 0; i < k && i < 32; i++) x[k + i] = 0;  // a group of zeros in row 1
    std::vector<ActivationGroup> first;
    for (const Candidate& candidate : kCandidates) {
      if (!here(candidate.isa)) {
        MESSAGE("skipped, not on this processor: ", isa_name(candidate.isa));
        continue;
      }
      std::vector<ActivationGroup> got(groups * rows);
      std::memset(static_cast<void*>(got.data()), 0x55, got.size() * sizeof(ActivationGroup));
      candidate.run({x.data(), k, rows, k, 0, 2, got.data()});
      candidate.run({x.data(), k, rows, k, 2, rows, got.data()});
      for (std::size_t m = 0; m < rows; m++)
        for (std::size_t g = 0; g < groups; g++) {
          const ActivationGroup& record = got[g * rows + m];
          float largest = 0;
          for (std::size_t i = 32 * g; i < std::min(k, 32 * g + 32); i++) largest = std::max(largest, std::fabs(x[m * k + i]));
          REQUIRE(record.scale == largest / 127);
          int sum = 0;
          for (std::size_t i = 0; i < 32; i++) {
            const float value = 32 * g + i < k ? x[m * k + 32 * g + i] : 0;
            REQUIRE(std::fabs(record.q[i] * record.scale - value) <= record.scale * 0.5001f);
            sum += record.q[i];
          }
          REQUIRE(record.sum == record.scale * static_cast<float>(sum));
          REQUIRE(record.offset == -128 * sum);
        }
      if (first.empty()) first = got;
      REQUIRE(std::memcmp(first.data(), got.data(), got.size() * sizeof(ActivationGroup)) == 0);
    }
  }
}

TEST_CASE("values that are no numbers give safe records") {
  std::vector<float> x(32, 1.0f);
  x[3] = NAN;
  x[4] = INFINITY;
  for (const Candidate& candidate : kCandidates) {
    if (!here(candidate.isa)) continue;
    ActivationGroup record;
    candidate.run({x.data(), 32, 1, 32, 0, 1, &record});
    CHECK(std::isfinite(record.scale));
  }
}
