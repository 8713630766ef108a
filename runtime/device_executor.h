// Carries the operations of a step out on a device. Rows, keys and values lie there; the host looks embeddings up, computes the parts of products whose weights stay with it and the attention of layers whose keys do,
// and is given and gives back no more rows than those need. Where only the best logits are asked for, they are ranked there, and no others come back. Its own rows lie in the host's workspace, a mirror of the device's buffers, which copies go from and to.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "offload/device.h"
#include "offload/device_memory.h"
#include "offload/device_plan.h"
#include "runtime/block_executor.h"
#include "runtime/device_weights.h"
#include "runtime/device_workspace.h"
#include "runtime/host_executor.h"

namespace leafcutter::runtime {

// All of it must outlive the executor.
struct DeviceContext {
  HostContext host;
  std::span<std::byte> vectors;  // norms and biases
  const offload::DevicePlan& plan;
  offload::Pager& pager;
  offload::Device& device;
  DeviceWorkspaceShape shape;
  offload::Trace* trace = nullptr;  // where copies, kernels and the host's share are noted
};

// All rows of a pass are one block.
class DeviceExecutor final : public BlockExecutor {
 public:
  // Throws DeviceError(out_of_memory).
  explicit DeviceExecutor(const DeviceContext& context);
  ~DeviceExecutor() override;

  void load(std::stop_token stop) override;
  std::uint64_t copied_bytes() const { return supply_.copied_bytes(); }

  std::size_t block_rows() const override { return c_.host.work.rows; }
  void begin(std::span<const StepRow> rows, const StepLogits& logits) override;
  void norm(const float* weight, RowBuffer output, Block block) override;
  void multiply(const compress::ModuleEntry& module, std::span<const Product> products, RowBuffer input, std::size_t rows,
                AfterUse after) override;
  void store_keys(std::size_t layer, Block block) override;
  void attend(std::size_t layer, Block block) override;
  void activate(std::size_t width, std::size_t rows) override;
  void add(Block block) override;
  std::size_t choose_wanted() override;
  void finish(const compress::ModuleEntry& module) override { supply_.finish(module); }
  void end() override;
  void abandon() override;

 private:
  float* host_rows(RowBuffer name) const;
  offload::DeviceAddress device_rows(RowBuffer name, std::size_t row = 0, std::size_t width = 0) const;
  offload::DeviceAddress of_vector(const float* values) const;
  void upload_lists();
  void upload(RowBuffer name, std::size_t rows, std::size_t width);
  void download(RowBuffer name, std::size_t rows, std::size_t width, offload::DeviceStream stream);
  void quantize(RowBuffer input, std::size_t first_row, std::size_t rows, std::size_t k);
  void launch_products(std::span<const Product> products, RowBuffer input, std::size_t rows, std::uint32_t first_chunk,
                       std::uint32_t last_chunk);
  void add_host_products(std::span<const Product> products, std::size_t rows, std::uint32_t chunk);
  void count_attention(std::size_t layer, Block block);
  void rotate(RowBuffer name, std::size_t heads, std::size_t head_dim, Block block);

  DeviceContext c_;
  HostExecutor host_;
  HostProducts host_products_;
  VisibleKeys visible_;
  offload::DeviceStream compute_,
      exchange_;  // exchange_: inputs of the host's part of products on their way down, and what it made of them on its way up
  offload::DeviceEvent input_made_, input_down_, results_up_;
  DeviceWorkspace work_;
  offload::DeviceBuffer vectors_, keys_, bias_, bias_columns_;
  std::vector<offload::DeviceAddress> columns_of_layer_;  // none: head i reads column i
  DeviceWeights supply_;
  std::vector<offload::PinnedPages> pinned_;
  std::span<const StepRow> rows_;
  StepLogits logits_;
  std::size_t wanted_ = 0;
  offload::HostWork host_work_;      // of products that were added and have not run
  std::uint64_t quantized_row_ = 0;  // the first row of the block whose int8 rows are on the device
  bool quantized_ = false;
};

}  // namespace leafcutter::runtime
