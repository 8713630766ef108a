// Property: a torch checkpoint that is accepted has tensors inside the file, or an Error; never more.
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "compress/torch_checkpoint.h"

using namespace leafcutter;
using namespace leafcutter::compress;

namespace {

class FuzzFile final : public File {
 public:
  FuzzFile(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return size_; }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset >= size_) return 0;
    const std::size_t got = std::min<std::uint64_t>(to.size(), size_ - offset);
    if (got > 0) std::memcpy(to.data(), data_ + offset, got);
    return got;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::string name_ = "fuzz.pt";
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzFile file(data, size);
  try {
    for (const TorchTensor& tensor : read_torch_checkpoint(file).tensors)
      if (tensor.offset > size || tensor.shape.size() != tensor.strides.size()) std::abort();
  } catch (const Error&) {}
  return 0;
}
