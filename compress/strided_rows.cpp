#include "compress/strided_rows.h"

#include <algorithm>
#include <cstring>

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kBlockBytes = 8u << 20;
constexpr std::size_t kBlocks = 4;
constexpr std::uint64_t kWindowBytes = 256u << 10;
constexpr std::uint64_t kFarApart = 4096;     // bytes: nothing is gained by reading what lies between
constexpr std::uint64_t kColumnsAtOnce = 32;  // turned together, so that a row's cache line is filled at once

// `count` values of `size` bytes, `step` bytes apart, one behind the other into `out`.
void gather(File& file, std::uint64_t offset, std::uint64_t step, std::uint64_t count, std::uint64_t size, std::byte* out,
            const std::string& what) {
  if (step == size) return read_exactly(file, offset, std::span(out, count * size), what);
  if (step == 0) {
    read_exactly(file, offset, std::span(out, size), what);
    for (std::uint64_t i = 1; i < count; i++) std::memcpy(out + i * size, out, size);
    return;
  }
  thread_local std::vector<std::byte> window;
  const std::uint64_t at_once = step >= kFarApart ? 1 : kWindowBytes / step;
  for (std::uint64_t i = 0; i < count; i += at_once) {
    const std::uint64_t n = std::min(at_once, count - i);
    window.resize((n - 1) * step + size);
    read_exactly(file, offset + i * step, window, what);
    for (std::uint64_t j = 0; j < n; j++) std::memcpy(out + (i + j) * size, window.data() + j * step, size);
  }
}

std::uint64_t rows_of_block(std::uint64_t k, std::uint64_t size) { return std::max<std::uint64_t>(1, kBlockBytes / (k * size)); }

}  // namespace

void StridedRows::read(File& file, const SourceTensor& tensor, std::uint64_t row, std::span<std::byte> out) {
  const std::uint64_t size = quant::source_type_info(tensor.type).block_bytes;
  if (tensor.rows == 1 || tensor.strides->column <= std::max<std::uint64_t>(1, tensor.strides->row))
    return gather(file, tensor.offset + row * tensor.strides->row * size, tensor.strides->column * size, tensor.k, size, out.data(),
                  "tensor " + tensor.name);
  const auto block = block_of(file, tensor, row);
  std::memcpy(out.data(), block->rows.data() + (row - block->first) * out.size(), out.size());
}

std::shared_ptr<const StridedRows::Block> StridedRows::block_of(File& file, const SourceTensor& tensor, std::uint64_t row) {
  const std::uint64_t size = quant::source_type_info(tensor.type).block_bytes, k = tensor.k;
  const std::uint64_t most = rows_of_block(k, size), first = row / most * most, rows = std::min(most, tensor.rows - first);
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(blocks_.begin(), blocks_.end(), [&](const auto& b) { return b->tensor == &tensor && b->first == first; });
  if (found != blocks_.end()) {
    blocks_.splice(blocks_.begin(), blocks_, found);
    return blocks_.front();
  }
  auto block = std::make_shared<Block>(Block{.tensor = &tensor, .first = first, .rows = std::vector<std::byte>(rows * k * size)});
  std::vector<std::byte> columns(std::min(kColumnsAtOnce, k) * rows * size);
  for (std::uint64_t c = 0; c < k; c += kColumnsAtOnce) {
    const std::uint64_t n = std::min(kColumnsAtOnce, k - c);
    for (std::uint64_t i = 0; i < n; i++)
      gather(file, tensor.offset + (first * tensor.strides->row + (c + i) * tensor.strides->column) * size, tensor.strides->row * size,
             rows, size, columns.data() + i * rows * size, "tensor " + tensor.name);
    for (std::uint64_t r = 0; r < rows; r++)
      for (std::uint64_t i = 0; i < n; i++)
        std::memcpy(block->rows.data() + (r * k + c + i) * size, columns.data() + (i * rows + r) * size, size);
  }
  if (blocks_.size() == kBlocks) blocks_.pop_back();
  blocks_.push_front(std::move(block));
  return blocks_.front();
}

}  // namespace leafcutter::compress
