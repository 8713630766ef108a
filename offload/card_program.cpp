#include "offload/card_program.h"

#include <algorithm>
#include <map>

#include "compress/strip_walk.h"
#include "offload/chunk_sizes.h"

namespace leafcutter::offload {
namespace {

using compress::ChunkEntry;
using compress::LeafIndex;
using compress::ModuleEntry;
using compress::ModuleKind;
using compress::TensorRole;

// Rings of device memory are handed out in steps of what copies and kernels like to begin at.
constexpr std::uint64_t kDeviceAlignment = 256;
// Sampling looks at each logit a few times on one thread.
constexpr double kSecondsPerLogit = 1e-9;
// On the host a vector of f32 is a quarter of one of int8, and a multiply-add one instruction where int8 takes about two.
constexpr double kF32OverInt8 = 2;
// Beside the products: norm and quantizing before them, rotating and keeping keys, attention and its second pass over parts of the keys.
constexpr int kLaunchesBefore = 1, kLaunchesOfKeys = 1, kLaunchesOfAttention = 2;

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

enum class Product { qkv, out, gate_up, down, head, none };

Product product_of(TensorRole role, bool tied_head) {
  switch (role) {
    case TensorRole::attention_q:
    case TensorRole::attention_k:
    case TensorRole::attention_v:
      return Product::qkv;
    case TensorRole::attention_out:
      return Product::out;
    case TensorRole::feed_forward_gate:
    case TensorRole::feed_forward_up:
      return Product::gate_up;
    case TensorRole::feed_forward_down:
      return Product::down;
    case TensorRole::head:
      return Product::head;
    case TensorRole::embedding:
      return tied_head ? Product::head : Product::none;
    default:
      return Product::none;
  }
}

// What a chunk has of one product: the host's first strips and the card's others.
struct Piece {
  Work host, card;
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
      std::map<Product, Piece> of_chunk = pieces_of(index_.chunks[c]);
      of_chunk.erase(Product::none);
      if (of_chunk.empty()) continue;
      begin_chunk(c);
      for (const auto& [product, piece] : of_chunk) pieces[product].emplace_back(c, piece);
    }
    const double row_seconds = static_cast<double>(step.row_bytes) / card_.usable_dram();
    const std::uint64_t row = step.rows * sizeof(float), dim = row * index_.model.dim;
    const auto add = [&](Product product, double before, std::uint64_t input) { add_products(pieces[product], before, step.rows, input); };
    const double launch = kLaunchesBefore * card_.launch_s;
    if (module.kind == ModuleKind::attention) {
      const compress::LayerDescription& layer = index_.model.layers[module.layer];
      const std::uint64_t heads = std::uint64_t{layer.heads} * layer.head_dim, kv = std::uint64_t{layer.kv_heads} * layer.head_dim;
      add(Product::qkv, launch + row_seconds, dim);
      add_attention(step, plan_.kv_on_device[module.layer], row * (heads + 2 * kv), row * heads);
      add(Product::out, launch, row * heads);
    } else if (module.kind == ModuleKind::feed_forward) {
      add(Product::gate_up, launch + row_seconds, dim);
      add(Product::down, launch, row * index_.model.layers[module.layer].ff_width);
    } else {
      add(Product::head, launch + row_seconds, dim);
    }
  }

  // Its read and its copy; which of them there are.
  void begin_chunk(std::uint32_t c) {
    const ChunkEntry& chunk = index_.chunks[c];
    std::size_t from_disk = kNone;
    if (plan_.residence[c] == Tier::disk) {
      from_disk = step_.disk.size();
      double check = static_cast<double>(chunk.raw_bytes) / host_.check_bytes_per_s;
      if (chunk.codec != compress::Codec::none) check *= 3;  // both hashes, and decoding
      step_.disk.push_back({{slot_bytes(chunk), stored_pages(chunk), chunk.codec != compress::Codec::none}, check, 0});
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
      Piece& piece = pieces[product_of(tensor.role, index_.model.tied_head)];
      const bool is_float = quant::format_of(tensor.format).lossless_float;
      const auto work = [&](std::uint64_t strips) {
        const double operations = 2.0 * static_cast<double>(strips * kernels::kStripRows * tensor.k);
        return Work{strips * tensor.strip_bytes(), is_float ? 0 : operations, is_float ? operations : 0, strips};
      };
      piece.host.add(work(of_host));
      piece.card.add(work(all - of_host));
    }
    return pieces;
  }

  double card_seconds(const Work& work, std::uint64_t rows) const {
    if (work.bytes == 0) return 0;
    const double doing = work.int8_operations / card_.usable_int8() + work.f32_operations / card_.usable_f32();
    return card_.launch_s + std::max(static_cast<double>(work.bytes) / card_.usable_dram(), doing * static_cast<double>(rows));
  }

  CardStage::HostWork host_work(const Work& work, std::uint64_t rows, std::size_t disk_turn) const {
    const double moving = static_cast<double>(work.bytes) / std::min(host_.product_bytes_per_s, host_.dram_bytes_per_s);
    const double doing = (work.int8_operations + kF32OverInt8 * work.f32_operations) / host_.int8_ops_per_s;
    return {std::max(moving, doing * static_cast<double>(rows)), static_cast<double>(work.bytes), disk_turn};
  }

  void add_products(const std::vector<std::pair<std::uint32_t, Piece>>& pieces, double before, std::uint64_t rows, std::uint64_t input) {
    CardStage stage;
    stage.input_bytes = input;
    Work there, in_memory;  // on the card; of the host, without waiting for the disk
    std::uint64_t host_strips = 0;
    std::vector<CardStage::CardWork> copied;
    for (const auto& [c, piece] : pieces) {
      host_strips += piece.host.strips;
      if (copy_of_[c] == kNone)
        there.add(piece.card);
      else if (piece.card.bytes > 0)
        copied.push_back({card_seconds(piece.card, rows), copy_of_[c]});
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
    if (there.bytes > 0 || !copied.empty()) {
      stage.card.push_back({before + card_seconds(there, rows), kNone});
      stage.card.insert(stage.card.end(), copied.begin(), copied.end());
    }
    if (!stage.card.empty() || !stage.host.empty()) step_.stages.push_back(std::move(stage));
  }

  void add_attention(const StepModule& step, bool on_card, std::uint64_t input, std::uint64_t output) {
    CardStage stage;
    const auto kv = static_cast<double>(step.kv_bytes), operations = static_cast<double>(step.attention_operations);
    if (on_card) {
      const int launches = kLaunchesOfKeys + kLaunchesOfAttention;
      stage.card.push_back({launches * card_.launch_s + std::max(kv / card_.usable_dram(), operations / card_.usable_f32()), kNone});
    } else {
      stage.host.push_back({host_.meeting_s + std::max(kv / host_.dram_bytes_per_s, operations / host_.attention_ops_per_s), kv, kNone});
      stage.input_bytes = input;
      stage.output_bytes = output;
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
    double seconds = static_cast<double>(logits) * kSecondsPerLogit;
    if (!plan_.table_in_memory) seconds += static_cast<double>(program_.rows) * host_.lookup_s;
    stage.host.push_back({seconds, 0, kNone});
    stage.input_bytes = logits * sizeof(float);
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
  CardStep step_;
};

}  // namespace

CardStep card_step(const LeafIndex& index, const DevicePlan& plan, const Sides& sides, const StepProgram& program, const Card& card,
                   const CardHost& host) {
  return Builder(index, plan, sides, program, card, host).build();
}

}  // namespace leafcutter::offload
