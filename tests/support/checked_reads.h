// A file whose reads a CheckedDevice holds against its copies: the first hop beside the second.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/file.h"
#include "tests/support/checked_device.h"

namespace leafcutter::offload::test {

// Without a descriptor, so that reads come through here. The device must outlive it.
class CheckedReads final : public File {
 public:
  CheckedReads(CheckedDevice& device, std::shared_ptr<File> inner) : device_(device), inner_(std::move(inner)) {}
  const std::string& name() const override { return inner_->name(); }
  std::uint64_t size() const override { return inner_->size(); }
  bool direct() const override { return inner_->direct(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    return device_.host_writes(to, [&] { return inner_->read_at(offset, to); });
  }

 private:
  CheckedDevice& device_;
  std::shared_ptr<File> inner_;
};

}  // namespace leafcutter::offload::test
