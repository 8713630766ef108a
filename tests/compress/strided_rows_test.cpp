#include "compress/strided_rows.h"

#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "base/error.h"
#include "tests/support/fault_file.h"
#include "tests/support/memory_file.h"

using namespace leafcutter;
using namespace leafcutter::compress;

namespace {

constexpr std::uint64_t kFront = 12;  // bytes before the tensor

// Value i of the file is i.
leafcutter::test::MemoryFile numbered(std::uint64_t values) {
  std::vector<std::byte> bytes(kFront + 4 * values);
  for (std::uint64_t i = 0; i < values; i++) {
    const float value = static_cast<float>(i);
    std::memcpy(bytes.data() + kFront + 4 * i, &value, 4);
  }
  return leafcutter::test::MemoryFile(std::move(bytes), "model.pt");
}

SourceTensor view(std::uint64_t rows, std::uint64_t k, std::uint64_t row, std::uint64_t column) {
  SourceTensor t;
  t.name = "w";
  t.offset = kFront;
  t.type = quant::SourceType::f32;
  t.rows = rows;
  t.k = k;
  t.strides = SourceStrides{.row = row, .column = column};
  return t;
}

std::uint64_t values_of(const SourceTensor& t) { return (t.rows - 1) * t.strides->row + (t.k - 1) * t.strides->column + 1; }

bool row_is_right(StridedRows& rows, File& file, const SourceTensor& t, std::uint64_t row) {
  std::vector<float> out(t.k);
  rows.read(file, t, row, std::as_writable_bytes(std::span(out)));
  for (std::uint64_t c = 0; c < t.k; c++)
    if (out[c] != static_cast<float>(row * t.strides->row + c * t.strides->column)) return false;
  return true;
}

}  // namespace

TEST_CASE("rows of every kind of view are the values at their strides") {
  const SourceTensor views[] = {
      view(5, 7, 7, 1), view(5, 7, 9, 1),    view(7, 5, 1, 7),     view(7, 5, 1, 9),       view(7, 5, 2, 20),      view(6, 4, 0, 1),
      view(6, 4, 1, 0), view(6, 4, 0, 0),    view(6, 4, 0, 5),     view(4, 6, 3, 5),       view(6, 6, 1, 1),       view(1, 9, 1, 3),
      view(9, 1, 3, 1), view(3, 70, 300, 3), view(70, 40, 1, 100), view(3, 3, 9000, 2000), view(3, 3, 2000, 9000), view(33, 65, 1, 33)};
  for (const SourceTensor& t : views) {
    CAPTURE(t.strides->row);
    CAPTURE(t.strides->column);
    auto file = numbered(values_of(t));  // and not a value more: nothing is read past the last
    StridedRows rows;
    for (std::uint64_t r = 0; r < t.rows; r++) CHECK(row_is_right(rows, file, t, r));
  }
}

TEST_CASE("a large transposed matrix comes in blocks: every value is read once, whatever the order of threads") {
  const SourceTensor t = view(5000, 600, 1, 5000);
  auto file = numbered(values_of(t));
  leafcutter::test::FaultFile counted(file, {});
  StridedRows rows;
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> next{0}, wrong{0};
  for (int i = 0; i < 3; i++)
    threads.emplace_back([&] {
      for (std::uint64_t r; (r = next++) < t.rows;) wrong += row_is_right(rows, counted, t, r) ? 0 : 1;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(counted.calls() == 2 * 600);  // two blocks, a read for each column's part of it
}

TEST_CASE("a file that fails while a block is read gives its error, and no wrong rows after it") {
  const SourceTensor t = view(40, 30, 1, 40);
  auto file = numbered(values_of(t));
  leafcutter::test::FaultFile failing(file, {.error_at = 17});
  StridedRows rows;
  std::vector<float> out(t.k);
  CHECK_THROWS_AS(rows.read(failing, t, 0, std::as_writable_bytes(std::span(out))), Error);
  for (std::uint64_t r = 0; r < t.rows; r++) CHECK(row_is_right(rows, failing, t, r));
}
