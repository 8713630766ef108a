#include "offload/card_program.h"

#include <algorithm>
#include <map>
#include <utility>

#include "compress/strip_walk.h"
#include "kernels/matmul.h"
#include "kernels/ranked.h"
#include "offload/card_costs.h"
#include "offload/chunk_sizes.h"
#include "offload/step_products.h"

namespace leafcutter::offload {
namespace {

using compress::ChunkEntry;
using compress::LeafIndex;
using compress::ModuleEntry;
using compress::ModuleKind;

constexpr DeviceAddress kSomewhere{1};  // costs depend on what there is, not on where
// Rings of device memory are handed out in steps of what copies and kernels like to begin at.
constexpr std::uint64_t kDeviceAlignment = 256;

// Of the host.
struct Work {
  std::uint64_t bytes = 0;
  double int8_operations = 0, f32_operations = 0;  // of one row
  std::uint64_t strips = 0;
  void add(const Work& other) {
    bytes += other.bytes;
    int8_operations += other.int8_operations;
    f32_operations += other.f32_operations;
    strips += other.strips;
  }
};

// Strips of a matrix that lie together on the card: one launch.
struct Run {
  std::size_t tensor = 0;
  std::uint64_t strips = 0;
  bool goes_on = false;  // right behind those of the chunk before
};

// What a chunk has of one product: the host's first strips and the card's others.
struct Piece {
  Work host;
  std::vector<Run> card;
};

class Builder {
 public:
  Builder(const LeafIndex& index, const DevicePlan& plan, const Sides& sides, const StepProgram& program, const Card& card,
          const CardHost& host)
      : index_(index), plan_(plan), sides_(sides), program_(program), card_(card), host_(host) {
    step_.card_ring_bytes = plan.device_ring_bytes;
    step_.host_ring_bytes = plan.host_ring_bytes;
    step_.staging_slots = kStagingSlots;
  }

  CardStep build() {
    for (const StepModule& module : program_.modules) add_module(module);
    add_end();
    return std::move(step_);
  }

 private:
  void add_module(const StepModule& step) {
    const ModuleEntry& module = index_.modules[step.module];
    std::map<Product, std::vector<std::pair<std::uint32_t, Piece>>> pieces;
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      const std::map<Product, Piece> of_chunk = pieces_of(index_.chunks[c]);
      if (of_chunk.empty()) continue;
      begin_chunk(c);
      for (const auto& [product, piece] : of_chunk) pieces[product].emplace_back(c, piece);
    }
    const std::uint64_t rows = step.rows, dim = index_.model.dim;
    const double norm = norm_seconds(rows), sum = sum_seconds(rows);
    const auto add = [&](Product product, double before, double behind, std::uint64_t width) {
      add_products(pieces[product], before, rows, width);
      behind_ += behind;
    };
    if (module.kind == ModuleKind::attention) {
      const compress::LayerDescription& layer = index_.model.layers[module.layer];
      add(Product::qkv, norm, 0, dim);
      add_attention(step, layer, plan_.kv_on_device[module.layer]);
      add(Product::out, 0, sum, std::uint64_t{layer.heads} * layer.head_dim);
    } else if (module.kind == ModuleKind::feed_forward) {
      const std::uint64_t width = index_.model.layers[module.layer].ff_width;
      add(Product::gate_up, norm, 0, dim);
      add(Product::down, gate_seconds(rows * width), sum, width);
    } else {
      add(Product::head, norm, 0, dim);
    }
  }

  // Its read and its copy; which of them there are.
  void begin_chunk(std::uint32_t c) {
    const ChunkEntry& chunk = index_.chunks[c];
    std::size_t from_disk = kNone;
    if (plan_.residence[c] == Tier::disk) {
      from_disk = step_.disk.size();
      step_.disk.push_back({{slot_bytes(chunk), stored_pages(chunk), chunk.codec != compress::Codec::none},
                            check_bytes(chunk) / host_.check_bytes_per_s,
                            0});
    }
    disk_of_[c] = from_disk;
    copy_of_[c] = kNone;
    if (plan_.residence[c] == Tier::device) return;
    const std::uint64_t copied = product_bytes(index_, chunk) - bytes_of_first_strips(index_, chunk, sides_.host_strips[c]);
    if (copied == 0) return;
    copy_of_[c] = step_.copies.size();
    step_.copies.push_back(
        {static_cast<std::size_t>(round_up(copied, kDeviceAlignment)), static_cast<std::size_t>(copied), from_disk != kNone});
    step_.copy_source.push_back(from_disk);
    if (from_disk != kNone) step_.disk[from_disk].uses++;
  }

  std::map<Product, Piece> pieces_of(const ChunkEntry& chunk) const {
    std::map<Product, Piece> pieces;
    const auto c = static_cast<std::size_t>(&chunk - index_.chunks.data());
    std::uint64_t left = sides_.host_strips[c];
    for (const compress::StripRange& range : compress::strips_of_chunk(index_, chunk)) {
      const compress::TensorEntry& tensor = index_.tensors[range.tensor];
      const std::uint64_t all = range.end - range.begin, of_host = std::min(left, all);
      left -= of_host;
      const auto product = product_of(tensor.role, index_.model.tied_head);
      if (!product) continue;
      Piece& piece = pieces[*product];
      const bool is_float = quant::format_of(tensor.format).lossless_float;
      const auto work = [&](std::uint64_t strips) {
        const double operations = 2.0 * static_cast<double>(strips * kernels::kStripRows * tensor.k);
        return Work{strips * tensor.strip_bytes(), is_float ? 0 : operations, is_float ? operations : 0, strips};
      };
      piece.host.add(work(of_host));
      if (all > of_host) piece.card.push_back({range.tensor, all - of_host, goes_on(chunk, range.tensor)});
    }
    return pieces;
  }

  // Strips of this matrix at the beginning of a chunk that stays on the card lie there behind those of the chunk before.
  bool goes_on(const ChunkEntry& chunk, std::size_t tensor) const {
    const auto c = static_cast<std::size_t>(&chunk - index_.chunks.data());
    if (c == 0 || plan_.residence[c] != Tier::device || plan_.residence[c - 1] != Tier::device) return false;
    const ChunkEntry& before = index_.chunks[c - 1];
    return before.module == chunk.module && before.module_offset + before.raw_bytes == chunk.module_offset &&
           index_.tensors[tensor].offset < chunk.module_offset;
  }

  // ---- kernels, with the arguments that runtime/device_executor.cpp launches them with

  double product_seconds(const Run& run, std::uint64_t rows) const {
    const compress::TensorEntry& tensor = index_.tensors[run.tensor];
    ProductLaunch a;
    a.layout = tensor.layout;
    a.k = a.x_stride = tensor.k;
    a.strips = run.strips;
    a.outputs = a.y_stride = run.strips * kernels::kStripRows;
    a.rows = rows;
    return kernel_seconds(a, card_);
  }

  double quantize_seconds(std::uint64_t rows, std::uint64_t width) const {
    QuantizeRowsLaunch a;
    a.rows = rows;
    a.k = a.x_stride = width;
    return kernel_seconds(a, card_);
  }

  double norm_seconds(std::uint64_t rows) const {
    RmsNormLaunch a;
    a.rows = rows;
    a.width = a.x_stride = a.y_stride = index_.model.dim;
    return kernel_seconds(a, card_);
  }

  double sum_seconds(std::uint64_t rows) const {
    AddLaunch a;
    a.n = rows * index_.model.dim;
    return kernel_seconds(a, card_);
  }

  double gate_seconds(std::uint64_t values) const {
    GateLaunch a;
    a.n = values;
    return kernel_seconds(a, card_);
  }

  double rotate_seconds(std::uint64_t rows, std::uint64_t heads, std::uint64_t head_dim) const {
    if (index_.model.position != compress::PositionKind::rope_half) return 0;
    RotateLaunch a;
    a.rows = rows;
    a.heads = heads;
    a.head_dim = head_dim;
    a.half = head_dim / 2;
    a.x_stride = heads * head_dim;
    return kernel_seconds(a, card_);
  }

  double store_seconds(std::uint64_t rows, const compress::LayerDescription& layer) const {
    StoreKvLaunch a;
    a.rows = rows;
    a.kv_heads = layer.kv_heads;
    a.head_dim = layer.head_dim;
    a.type = program_.kv_type;
    return kernel_seconds(a, card_);
  }

  double attend_seconds(const StepModule& step, const compress::LayerDescription& layer) const {
    AttendLaunch a;
    a.rows = step.rows;
    a.heads = layer.heads;
    a.kv_heads = layer.kv_heads;
    a.head_dim = layer.head_dim;
    a.type = program_.kv_type;
    if (index_.model.position == compress::PositionKind::segment_relative_bias) a.bias_by_distance = kSomewhere;
    return kernel_seconds(a, card_, {step.most_keys, step.all_keys});
  }

  double rank_seconds(std::uint64_t rows) const {
    RankLaunch a;
    a.rows = rows;
    a.width = a.x_stride = index_.model.vocab_size;
    a.k = program_.best_a_row;
    return kernel_seconds(a, card_);
  }

  // ---- stages

  CardStage::HostWork host_work(const Work& work, std::uint64_t rows, std::size_t disk_turn) const {
    const auto bytes = static_cast<double>(work.bytes), many = static_cast<double>(rows);
    return {host_product_seconds({bytes, work.int8_operations * many, work.f32_operations * many}, host_), bytes, disk_turn};
  }

  // before: seconds of what makes the input, which has `width` values a row.
  void add_products(const std::vector<std::pair<std::uint32_t, Piece>>& pieces, double before, std::uint64_t rows, std::uint64_t width) {
    CardStage stage;
    stage.input_bytes = rows * width * sizeof(float);
    std::vector<Run> there;  // on the card
    Work in_memory;          // of the host, without waiting for the disk
    std::uint64_t host_strips = 0;
    bool is_quantized = false;
    std::vector<CardStage::CardWork> copied;
    for (const auto& [c, piece] : pieces) {
      host_strips += piece.host.strips;
      double seconds = 0;
      for (const Run& run : piece.card) {
        is_quantized = is_quantized || kernels::takes_groups(index_.tensors[run.tensor].layout);
        if (copy_of_[c] != kNone)
          seconds += product_seconds(run, rows);
        else if (run.goes_on && !there.empty() && there.back().tensor == run.tensor)
          there.back().strips += run.strips;
        else
          there.push_back(run);
      }
      if (seconds > 0) copied.push_back({seconds, copy_of_[c]});
      if (piece.host.bytes == 0) continue;
      if (disk_of_[c] == kNone) {
        in_memory.add(piece.host);
      } else {
        stage.host.push_back(host_work(piece.host, rows, disk_of_[c]));
        step_.disk[disk_of_[c]].uses++;
      }
    }
    if (in_memory.bytes > 0) stage.host.insert(stage.host.begin(), host_work(in_memory, rows, kNone));
    if (!stage.host.empty()) {
      stage.host.front().seconds += host_.meeting_s;
      stage.output_bytes = host_strips * kernels::kStripRows * rows * sizeof(float);
    }
    if (pieces.empty()) return;
    // Rows live on the card, also where the host multiplies all of them.
    double seconds = is_quantized ? quantize_seconds(rows, width) : 0;
    for (const Run& run : there) seconds += product_seconds(run, rows);
    stage.card_before = std::exchange(behind_, 0) + before;
    stage.card.push_back({seconds, kNone});
    stage.card.insert(stage.card.end(), copied.begin(), copied.end());
    step_.stages.push_back(std::move(stage));
  }

  void add_attention(const StepModule& step, const compress::LayerDescription& layer, bool on_card) {
    const std::uint64_t heads = std::uint64_t{layer.heads} * layer.head_dim, kv = std::uint64_t{layer.kv_heads} * layer.head_dim;
    CardStage stage;
    if (on_card) {
      const double rotations =
          rotate_seconds(step.rows, layer.heads, layer.head_dim) + rotate_seconds(step.rows, layer.kv_heads, layer.head_dim);
      stage.card.push_back({rotations + store_seconds(step.rows, layer) + attend_seconds(step, layer), kNone});
    } else {
      const auto kv_bytes = static_cast<double>(step.kv_bytes), operations = static_cast<double>(step.attention_operations);
      stage.host.push_back({host_.meeting_s + host_attention_seconds({kv_bytes, operations, step.rows}, host_), kv_bytes, kNone});
      stage.input_bytes = step.rows * (heads + 2 * kv) * sizeof(float);
      stage.output_bytes = step.rows * heads * sizeof(float);
    }
    step_.stages.push_back(std::move(stage));
  }

  void add_end() {
    const std::uint64_t dim = program_.rows * index_.model.dim * sizeof(float);
    CardStage stage;
    std::uint64_t logits = 0;
    for (const StepModule& module : program_.modules) {
      const ModuleKind kind = index_.modules[module.module].kind;
      if (kind == ModuleKind::head || kind == ModuleKind::embedding) logits += module.rows * index_.model.vocab_size;
    }
    // A kernel finds the largest; only they come down.
    std::uint64_t handed_out = logits, bytes = logits * sizeof(float);
    if (program_.best_a_row > 0) {
      handed_out = logits / index_.model.vocab_size * program_.best_a_row;
      bytes = handed_out * sizeof(kernels::Ranked);
      stage.card_before = rank_seconds(logits / index_.model.vocab_size);
    }
    double seconds = sampling_seconds(handed_out);
    if (!plan_.table_in_memory) seconds += static_cast<double>(program_.rows) * host_.lookup_s;
    stage.host.push_back({seconds, 0, kNone});
    stage.input_bytes = bytes;
    stage.output_bytes = dim;
    step_.stages.push_back(std::move(stage));
  }

  const LeafIndex& index_;
  const DevicePlan& plan_;
  const Sides& sides_;
  const StepProgram& program_;
  const Card& card_;
  const CardHost& host_;
  std::map<std::uint32_t, std::size_t> copy_of_, disk_of_;
  double behind_ = 0;  // seconds of what the card does with the output of the stage before, when the host's part of it is there, too
  CardStep step_;
};

}  // namespace

CardStep card_step(const LeafIndex& index, const DevicePlan& plan, const Sides& sides, const StepProgram& program, const Card& card,
                   const CardHost& host) {
  return Builder(index, plan, sides, program, card, host).build();
}

}  // namespace leafcutter::offload
