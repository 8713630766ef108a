#include "runtime/device_executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "offload/trace.h"

namespace leafcutter::runtime {
namespace {

using offload::DeviceAddress;
using offload::DeviceBuffer;

constexpr std::uint32_t kMostTogether = 256;  // chunks of one launch: their bytes are counted in 32 bits

std::uint64_t keys_on_device(const KvCache& cache, const offload::DevicePlan& plan) {
  std::uint64_t bytes = 0;
  for (std::size_t l = 0; l < plan.kv_on_device.size(); l++)
    if (plan.kv_on_device[l]) bytes += cache.layer(l).bytes();
  return bytes;
}

}  // namespace

DeviceExecutor::DeviceExecutor(const DeviceContext& context)
    : c_(context),
      host_(c_.host),
      host_products_(c_.host.work, c_.host.team, c_.host.isa),
      compute_(c_.device.make_stream()),
      exchange_(c_.device.make_stream()),
      input_made_(c_.device.make_event()),
      input_down_(c_.device.make_event()),
      results_up_(c_.device.make_event()),
      work_(c_.device, c_.host.index.model, c_.shape),
      vectors_(c_.device, c_.vectors.size(), "norms and biases"),
      keys_(c_.device, static_cast<std::size_t>(keys_on_device(c_.host.cache, c_.plan)), "KV cache"),
      supply_(c_.device, c_.host.index, c_.plan, c_.pager, compute_) {
  const compress::ModelDescription& model = c_.host.index.model;
  c_.device.set_trace(c_.trace);
  c_.device.copy_to_device(vectors_.address(), c_.vectors.data(), {c_.vectors.size()}, compute_);
  columns_of_layer_.resize(model.layers.size());
  if (!c_.host.bias.empty()) {
    const std::span<const std::byte> table = c_.host.bias.table();
    bias_ = DeviceBuffer(c_.device, table.size(), "position bias");
    c_.device.copy_to_device(bias_.address(), table.data(), {table.size()}, compute_);
    std::size_t heads = 0;
    for (const compress::LayerDescription& layer : model.layers) heads += layer.bias_columns.size();
    bias_columns_ = DeviceBuffer(c_.device, heads * sizeof(std::uint16_t), "columns of the position bias");
    std::size_t at = 0;
    for (std::size_t l = 0; l < model.layers.size(); l++) {
      const std::vector<std::uint16_t>& columns = model.layers[l].bias_columns;
      if (columns.empty()) continue;
      columns_of_layer_[l] = bias_columns_.address() + at;
      const std::size_t bytes = columns.size() * sizeof(std::uint16_t);
      c_.device.copy_to_device(columns_of_layer_[l], reinterpret_cast<const std::byte*>(columns.data()), {bytes}, compute_);
      at += bytes;
    }
  }
  pinned_.emplace_back(c_.device, c_.host.work.bytes());
  for (const std::span<std::byte> part : c_.pager.memory()) pinned_.emplace_back(c_.device, part);
}

DeviceExecutor::~DeviceExecutor() {
  c_.device.drain();
  c_.device.set_trace(nullptr);
}

void DeviceExecutor::load(std::stop_token stop) { supply_.load(c_.host.embedding_file, std::move(stop)); }

float* DeviceExecutor::host_rows(RowBuffer name) const {
  return name == RowBuffer::logits ? logits_.all.data() : host_buffer(c_.host.work, name);
}

DeviceAddress DeviceExecutor::device_rows(RowBuffer name, std::size_t row, std::size_t width) const {
  return work_.rows(name) + row * width * sizeof(float);
}

DeviceAddress DeviceExecutor::of_vector(const float* values) const {
  return values ? vectors_.address() + static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(values) - c_.vectors.data())
                : DeviceAddress{};
}

// ---- rows between host and device

void DeviceExecutor::upload(RowBuffer name, std::size_t rows, std::size_t width) {
  c_.device.fetch(work_.rows(name), reinterpret_cast<const std::byte*>(host_rows(name)), {rows * width * sizeof(float)}, compute_);
}

void DeviceExecutor::download(RowBuffer name, std::size_t rows, std::size_t width, offload::DeviceStream stream) {
  c_.device.copy_to_host(reinterpret_cast<std::byte*>(host_rows(name)), work_.rows(name), {rows * width * sizeof(float)}, stream);
}

void DeviceExecutor::begin(std::span<const StepRow> rows, const StepLogits& logits) {
  rows_ = rows;
  logits_ = logits;
  wanted_ = 0;
  host_.begin(rows, logits);
  if (!c_.plan.table_in_memory) c_.device.host_worked({.lookups = rows.size()});
  supply_.begin_step(rows.size());
  upload(RowBuffer::hidden, rows.size(), c_.host.work.widths.dim);
  const std::size_t half = c_.host.rope.inverse_frequency.size(), angle_bytes = rows.size() * half * sizeof(float);
  if (half > 0) {
    c_.device.fetch(work_.cos, reinterpret_cast<const std::byte*>(c_.host.work.cos), {angle_bytes}, compute_);
    c_.device.fetch(work_.sin, reinterpret_cast<const std::byte*>(c_.host.work.sin), {angle_bytes}, compute_);
  }
  visible_.count(rows);
  upload_lists();
}

// Which slots the sequences of this step have, and which of them each row sees: the same for all layers.
void DeviceExecutor::upload_lists() {
  const DeviceWorkspace::Lists& at = work_.lists;
  std::byte* host = work_.lists_in_host.data();
  const DeviceAddress device = work_.lists_on_device;
  const KvCache& cache = c_.host.cache;
  const std::uint64_t positions = c_.shape.max_positions;
  for (std::size_t r = 0; r < rows_.size(); r++) {
    const StepRow& row = rows_[r];
    const std::span<const std::uint32_t> slots = cache.slots(row.sequence);
    const std::span<const std::uint8_t> segments = cache.segments(row.sequence);
    const std::uint64_t slot_at = at.slots + row.sequence * positions * sizeof(std::uint32_t),
                        segment_at = at.segments + row.sequence * positions;
    std::memcpy(host + slot_at, slots.data(), slots.size_bytes());
    std::memcpy(host + segment_at, segments.data(), segments.size_bytes());
    std::memcpy(host + at.row_slots + r * sizeof(std::uint32_t), &slots[row.position], sizeof(std::uint32_t));
    const offload::DeviceAttentionRow entry{device + slot_at, device + segment_at, visible_.of(row), row.position, segments[row.position]};
    std::memcpy(host + at.table + r * sizeof entry, &entry, sizeof entry);
  }
  c_.device.fetch(device, host, {at.bytes}, compute_);
}

// ---- operations

void DeviceExecutor::norm(const float* weight, RowBuffer output, Block block) {
  const std::size_t dim = c_.host.work.widths.dim;
  offload::RmsNormLaunch launch;
  launch.x = device_rows(RowBuffer::hidden, block.begin, dim);
  launch.weight = of_vector(weight);
  launch.y = output == RowBuffer::hidden ? launch.x : device_rows(output);
  launch.rows = block.rows();
  launch.width = launch.x_stride = launch.y_stride = dim;
  launch.epsilon = c_.host.index.model.norm_epsilon;
  c_.device.launch(launch, compute_);
}

void DeviceExecutor::quantize(RowBuffer input, std::size_t first_row, std::size_t rows, std::size_t k) {
  if (quantized_ && quantized_row_ == first_row) return;
  quantized_ = true;
  quantized_row_ = first_row;
  offload::QuantizeRowsLaunch launch;
  launch.x = device_rows(input, first_row, k);
  launch.groups = work_.groups;
  launch.rows = rows;
  launch.k = launch.x_stride = k;
  c_.device.launch(launch, compute_);
}

void DeviceExecutor::multiply(const compress::ModuleEntry& module, std::span<const Product> products, RowBuffer input, std::size_t rows,
                              AfterUse) {
  const compress::LeafIndex& index = c_.host.index;
  const compress::TensorEntry& first = *products.front().matrix->tensor;
  const compress::TensorEntry& last = *products.back().matrix->tensor;
  const std::uint64_t begin = first.offset, end = last.offset + last.bytes;
  quantized_ = false;
  const auto for_chunks = [&](auto&& work) {
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      const compress::ChunkEntry& entry = index.chunks[c];
      if (entry.module_offset + entry.raw_bytes <= begin) continue;
      if (entry.module_offset >= end) break;
      work(c, entry.module_offset + entry.raw_bytes <= end);
    }
  };
  // The host's strips of a chunk may all belong to the products before or behind these.
  const auto is_hosts = [&](std::uint32_t c) {
    return std::any_of(products.begin(), products.end(), [&](const Product& product) {
      return first_strips(*product.matrix->tensor, index.chunks[c], supply_.host_bytes(c)).strips > 0;
    });
  };
  bool host_computes = false;
  for_chunks([&](std::uint32_t c, bool) { host_computes = host_computes || is_hosts(c); });
  // Beside the stream of kernels, which would wait for it. What writes the input's buffer next comes behind what the host makes of it.
  if (host_computes) {
    c_.device.record(input_made_, compute_);
    c_.device.wait(exchange_, input_made_);
    download(input, rows, first.k, exchange_);
    c_.device.record(input_down_, exchange_);
  }
  // What stays on the device needs nothing: it comes first, and what lies side by side goes together.
  std::optional<std::uint32_t> first_staying;
  std::uint32_t last_staying = 0;
  const auto launch_staying = [&] {
    if (first_staying) launch_products(products, input, rows, *first_staying, last_staying);
    first_staying.reset();
  };
  for_chunks([&](std::uint32_t c, bool) {
    if (!supply_.stays(c)) return;
    if (!supply_.continues(c) || (first_staying && c - *first_staying >= kMostTogether)) launch_staying();
    if (!first_staying) first_staying = c;
    last_staying = c;
  });
  launch_staying();
  // The device is given what it can do by itself, and the host computes its part beside it. What comes from disk is used in its order, and given back, at once; what is there can wait for the end.
  bool input_is_here = false;
  const auto run_on_host = [&] {
    if (!input_is_here) c_.device.synchronize(input_down_);
    input_is_here = true;
    {
      const offload::TraceSpan span(c_.trace, offload::TraceKind::host, static_cast<std::uint32_t>(offload::HostShare::products));
      host_products_.run();
    }
    c_.device.host_worked(host_work_);
    host_work_ = {};
  };
  host_products_.begin(host_rows(input), first.k, rows);
  for_chunks([&](std::uint32_t c, bool ends) {
    if (supply_.stays(c)) return;
    if (supply_.has_device_part(c)) {
      launch_products(products, input, rows, c, c);
      if (ends) supply_.device_used(c);
    }
    if (supply_.host_bytes(c) == 0) return;
    if (is_hosts(c)) {
      add_host_products(products, rows, c);
      if (c_.pager.is_resident(c)) return;
      run_on_host();
    }
    if (ends) supply_.host_used(c);
  });
  if (!host_computes) return;
  run_on_host();
  for_chunks([&](std::uint32_t c, bool) {
    for (const Product& product : products) {
      const compress::TensorEntry& tensor = *product.matrix->tensor;
      const StripRange range = first_strips(tensor, index.chunks[c], supply_.host_bytes(c));
      if (range.strips == 0) continue;
      const std::size_t stride = tensor.rows * sizeof(float), from = range.first_output() * sizeof(float);
      const std::size_t outputs = std::min<std::size_t>(range.strips * kernels::kStripRows, tensor.rows - range.first_output());
      c_.device.fetch(work_.rows(product.output) + from, reinterpret_cast<const std::byte*>(host_rows(product.output)) + from,
                      {outputs * sizeof(float), rows, stride, stride}, exchange_);
    }
  });
  c_.device.record(results_up_, exchange_);
  c_.device.wait(compute_, results_up_);
}

// Of chunks that lie side by side on the device.
void DeviceExecutor::launch_products(std::span<const Product> products, RowBuffer input, std::size_t rows, std::uint32_t first_chunk,
                                     std::uint32_t last_chunk) {
  const compress::LeafIndex& index = c_.host.index;
  const DeviceAddress weights = supply_.on_device(first_chunk);
  const std::size_t skipped = supply_.host_bytes(first_chunk);
  compress::ChunkEntry chunks = index.chunks[first_chunk];
  chunks.raw_bytes = index.chunks[last_chunk].module_offset + index.chunks[last_chunk].raw_bytes - chunks.module_offset;
  for (const Product& product : products) {
    const Matrix& matrix = *product.matrix;
    const compress::TensorEntry& tensor = *matrix.tensor;
    const StripRange range = last_strips(tensor, chunks, skipped);
    if (range.strips == 0) continue;
    offload::ProductLaunch launch;
    launch.weights = weights + (range.offset - skipped);
    launch.layout = tensor.layout;
    launch.k = launch.x_stride = tensor.k;
    launch.strips = range.strips;
    launch.outputs = std::min<std::size_t>(range.strips * kernels::kStripRows, tensor.rows - range.first_output());
    launch.factor = matrix.factor;
    if (matrix.bias) launch.bias = of_vector(matrix.bias) + range.first_output() * sizeof(float);
    launch.y_stride = tensor.rows;
    launch.groups = work_.groups;
    for_blocks(rows, block_rows(), [&](Block block) {
      if (matrix.takes_groups) quantize(input, block.begin, block.rows(), tensor.k);
      launch.x = device_rows(input, block.begin, tensor.k);
      launch.y = device_rows(product.output, block.begin, tensor.rows) + range.first_output() * sizeof(float);
      launch.rows = block.rows();
      c_.device.launch(launch, compute_);
    });
  }
}

void DeviceExecutor::add_host_products(std::span<const Product> products, std::size_t rows, std::uint32_t chunk) {
  const compress::ChunkEntry& entry = c_.host.index.chunks[chunk];
  std::span<const std::byte> blob;
  for (const Product& product : products) {
    const StripRange range = first_strips(*product.matrix->tensor, entry, supply_.host_bytes(chunk));
    if (range.strips == 0) continue;
    if (blob.empty()) blob = supply_.on_host(chunk);
    host_products_.add(*product.matrix, host_rows(product.output), range, blob);
    const compress::TensorEntry& tensor = *product.matrix->tensor;
    const double operations = 2.0 * static_cast<double>(range.strips * kernels::kStripRows * tensor.k * rows);
    host_work_.bytes += static_cast<double>(range.strips * tensor.strip_bytes());
    (product.matrix->takes_groups ? host_work_.int8_operations : host_work_.f32_operations) += operations;
  }
}

void DeviceExecutor::rotate(RowBuffer name, std::size_t heads, std::size_t head_dim, Block block) {
  const std::size_t half = c_.host.rope.inverse_frequency.size();
  if (half == 0) return;
  offload::RotateLaunch launch;
  launch.x = device_rows(name);
  launch.cos = work_.cos + block.begin * half * sizeof(float);
  launch.sin = work_.sin + block.begin * half * sizeof(float);
  launch.rows = block.rows();
  launch.heads = heads;
  launch.head_dim = head_dim;
  launch.half = half;
  launch.x_stride = heads * head_dim;
  c_.device.launch(launch, compute_);
}

void DeviceExecutor::store_keys(std::size_t layer, Block block) {
  const compress::LayerDescription& d = c_.host.index.model.layers[layer];
  const std::size_t width = std::size_t{d.kv_heads} * d.head_dim;
  if (!c_.plan.kv_on_device[layer]) {
    download(RowBuffer::k, block.rows(), width, compute_);
    download(RowBuffer::v, block.rows(), width, compute_);
    c_.device.synchronize(compute_);
    return host_.store_keys(layer, block);
  }
  rotate(RowBuffer::k, d.kv_heads, d.head_dim, block);
  const KvCache::Layer& place = c_.host.cache.layer(layer);
  offload::StoreKvLaunch launch;
  launch.k = device_rows(RowBuffer::k);
  launch.v = device_rows(RowBuffer::v);
  launch.slots = work_.lists_on_device + work_.lists.row_slots + block.begin * sizeof(std::uint32_t);
  launch.keys = keys_.address() + place.offset;
  launch.values = launch.keys + place.plane;
  launch.rows = block.rows();
  launch.kv_heads = d.kv_heads;
  launch.head_dim = d.head_dim;
  launch.head_stride = place.head_bytes();
  launch.type = c_.host.cache.type();
  c_.device.launch(launch, compute_);
}

void DeviceExecutor::attend(std::size_t layer, Block block) {
  const compress::LayerDescription& d = c_.host.index.model.layers[layer];
  const std::size_t width = std::size_t{d.heads} * d.head_dim;
  if (!c_.plan.kv_on_device[layer]) {
    download(RowBuffer::q, block.rows(), width, compute_);
    c_.device.synchronize(compute_);
    {
      const offload::TraceSpan span(c_.trace, offload::TraceKind::host, static_cast<std::uint32_t>(offload::HostShare::attention));
      host_.attend(layer, block);
    }
    count_attention(layer, block);
    return upload(RowBuffer::context, block.rows(), width);
  }
  rotate(RowBuffer::q, d.heads, d.head_dim, block);
  const KvCache::Layer& place = c_.host.cache.layer(layer);
  offload::AttendLaunch launch;
  launch.q = device_rows(RowBuffer::q);
  launch.y = device_rows(RowBuffer::context);
  launch.table = work_.lists_on_device + work_.lists.table + block.begin * sizeof(offload::DeviceAttentionRow);
  launch.lists = work_.lists_on_device;
  launch.list_bytes = work_.lists.bytes;
  launch.keys = keys_.address() + place.offset;
  launch.values = launch.keys + place.plane;
  launch.rows = block.rows();
  launch.heads = d.heads;
  launch.kv_heads = d.kv_heads;
  launch.head_dim = d.head_dim;
  launch.head_stride = place.head_bytes();
  launch.type = c_.host.cache.type();
  launch.scale = 1 / std::sqrt(static_cast<float>(d.head_dim));
  if (!c_.host.bias.empty()) {
    const kernels::AttentionBias bias = c_.host.bias.of_layer(d);
    launch.bias_by_distance = bias_.address();
    launch.bias_across = of_vector(bias.across);
    launch.bias_columns = columns_of_layer_[layer];
    launch.distance_stride = bias.distance_stride;
    launch.reach = bias.reach;
    launch.segment_types = bias.segment_types;
    launch.columns = bias.columns;
  }
  c_.device.launch(launch, compute_);
}

// What the host did, for a device with a clock of its own.
void DeviceExecutor::count_attention(std::size_t layer, Block block) {
  const compress::LayerDescription& d = c_.host.index.model.layers[layer];
  std::uint64_t most = 0, seen = 0;
  for (std::size_t r = block.begin; r < block.end; r++) {
    const std::uint64_t visible = visible_.of(rows_[r]);
    most = std::max(most, visible);
    seen += visible;
  }
  offload::HostWork work;
  work.kv_bytes = static_cast<double>(2 * d.kv_heads * kernels::kv_row_bytes(c_.host.cache.type(), d.head_dim) * most);
  work.attention_operations = static_cast<double>(d.heads * (4 * d.head_dim + (c_.host.bias.empty() ? 0 : 1)) * seen);
  work.attention_rows = block.rows();
  c_.device.host_worked(work);
}

void DeviceExecutor::activate(std::size_t width, std::size_t rows) {
  c_.device.launch(
      offload::GateLaunch{device_rows(RowBuffer::gate), device_rows(RowBuffer::up), rows * width, gate_of(c_.host.index.model.activation)},
      compute_);
}

void DeviceExecutor::add(Block block) {
  const std::size_t dim = c_.host.work.widths.dim;
  c_.device.launch(
      offload::AddLaunch{device_rows(RowBuffer::hidden, block.begin, dim), device_rows(RowBuffer::projected), block.rows() * dim},
      compute_);
}

std::size_t DeviceExecutor::choose_wanted() {
  const std::size_t dim = c_.host.work.widths.dim;
  for (std::size_t r = 0; r < rows_.size(); r++) {
    if (!rows_[r].wants_logits) continue;
    if (wanted_ != r)
      c_.device.copy_on_device(device_rows(RowBuffer::hidden, wanted_, dim), device_rows(RowBuffer::hidden, r, dim), {dim * sizeof(float)},
                               compute_);
    wanted_++;
  }
  if (wanted_ > c_.shape.logit_rows)
    throw Error(ErrorKind::out_of_budget, "device",
                "logits for " + std::to_string(wanted_) + " rows, where there is room for " + std::to_string(c_.shape.logit_rows),
                "ask for fewer at once");
  return wanted_;
}

void DeviceExecutor::end() {
  const std::size_t vocabulary = c_.host.index.model.vocab_size, k = logits_.best_a_row;
  if (wanted_ > 0 && k > 0) {
    offload::RankLaunch launch;
    launch.x = device_rows(RowBuffer::logits);
    launch.best = work_.best;
    launch.rows = wanted_;
    launch.width = std::min<std::size_t>(vocabulary, logits_.best_below);
    launch.x_stride = vocabulary;
    launch.k = k;
    c_.device.launch(launch, compute_);
    c_.device.copy_to_host(reinterpret_cast<std::byte*>(logits_.best.data()), work_.best, {wanted_ * k * sizeof(kernels::Ranked)},
                           compute_);
  } else if (wanted_ > 0) {
    download(RowBuffer::logits, wanted_, vocabulary, compute_);
  }
  c_.device.synchronize(compute_);
  c_.device.host_worked({.logits = wanted_ * (k > 0 ? k : vocabulary)});
}

void DeviceExecutor::abandon() {
  c_.device.drain();
  supply_.abandon();
}

}  // namespace leafcutter::runtime
