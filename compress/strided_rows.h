// Rows of a matrix that does not lie row after row in its file: a transposed, sliced or expanded view, as PyTorch saves them. A transposed matrix is read in blocks of many rows,
// so that its file is read once and not once a row.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/file.h"
#include "compress/checkpoint_source.h"

namespace leafcutter::compress {

// Thread-safe. At most 48 MiB of blocks, and 256 KiB for each thread.
class StridedRows {
 public:
  // The k values of a source row, one behind the other. tensor.strides is there; `tensor` must outlive this object. Throws Error(io).
  void read(File& file, const SourceTensor& tensor, std::uint64_t row, std::span<std::byte> out);

 private:
  struct Block {
    const SourceTensor* tensor;
    std::uint64_t first;  // row
    std::vector<std::byte> rows;
  };
  std::shared_ptr<const Block> block_of(File& file, const SourceTensor& tensor, std::uint64_t row);

  std::mutex mutex_;
  std::list<std::shared_ptr<const Block>> blocks_;  // the one used last in front
};

}  // namespace leafcutter::compress
