#include "offload/card_program.h"

#include <algorithm>
#include <map>

#include "compress/strip_walk.h"
#include "offload/card_costs.h"
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
// Beside the products, as the executor launches them: norm before the first product of a part, the sum behind its last, the gate between, keeping keys and attention, a rotation of queries and one of keys. Products
// whose weights are quantized have their input quantized, too.
constexpr int kLaunchesOfNorm = 1, kLaunchesOfSum = 1, kLaunchesOfGate = 1, kLaunchesOfAttention = 2, kLaunchesOfRotation = 2;

struct Work {
  std::uint64_t bytes = 0;
  double int8_operations = 0, f32_operations = 0;  // of one row
  std::uint64_t strips = 0, launches = 0;          // one for strips of a matrix that lie side by side
  void add(const Work& other) {
    bytes += other.bytes;
    int8_operations += other.int8_operations;
    f32_operations += other.f32_operations;
    strips += other.strips;
    launches += other.launches;
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
    const auto add = [&](Product product, int before, double seconds, int behind, std::uint64_t input) {
      add_products(pieces[product], before * card_.launch_s + seconds, behind * card_.launch_s, step.rows, input);
    };
    if (module.kind == ModuleKind::attention) {
      const compress::LayerDescription& layer = index_.model.layers[module.layer];
      const std::uint64_t heads = std::uint64_t{layer.heads} * layer.head_dim, kv = std::uint64_t{layer.kv_heads} * layer.head_dim;
      add(Product::qkv, kLaunchesOfNorm, row_seconds, 0, dim);
      add_attention(step, plan_.kv_on_device[module.layer], row * (heads + 2 * kv), row * heads);
      add(Product::out, 0, 0, kLaunchesOfSum, row * heads);
    } else if (module.kind == ModuleKind::feed_forward) {
      add(Product::gate_up, kLaunchesOfNorm, row_seconds, 0, dim);
      add(Product::down, kLaunchesOfGate, 0, kLaunchesOfSum, row * index_.model.layers[module.layer].ff_width);
    } else {
      add(Product::head, kLaunchesOfNorm, row_seconds, 0, dim);
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
        return Work{strips * tensor.strip_bytes(), is_float ? 0 : operations, is_float ? operations : 0, strips, strips > 0};
      };
      piece.host.add(work(of_host));
      piece.card.add(work(all - of_host));
      if (all - of_host > 0 && goes_on(chunk, range.tensor)) piece.card.launches--;
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

  static CardWork of_rows(const Work& work, std::uint64_t rows) {
    const auto many = static_cast<double>(rows);
    return {static_cast<double>(work.bytes), work.int8_operations * many, work.f32_operations * many};
  }

  double kernel_seconds(const Work& work, std::uint64_t rows) const {
    return static_cast<double>(work.launches) * card_.launch_s + card_seconds(of_rows(work, rows), card_);
  }

  CardStage::HostWork host_work(const Work& work, std::uint64_t rows, std::size_t disk_turn) const {
    return {host_product_seconds(of_rows(work, rows), host_), static_cast<double>(work.bytes), disk_turn};
  }

  // before: what makes the input. beside: what the card has to do besides multiplying.
  void add_products(const std::vector<std::pair<std::uint32_t, Piece>>& pieces, double before, double beside, std::uint64_t rows,
                    std::uint64_t input) {
    CardStage stage;
    stage.input_bytes = input;
    Work there, in_memory;  // on the card; of the host, without waiting for the disk
    std::uint64_t host_strips = 0;
    bool is_quantized = false;
    std::vector<CardStage::CardWork> copied;
    for (const auto& [c, piece] : pieces) {
      host_strips += piece.host.strips;
      is_quantized = is_quantized || piece.card.int8_operations > 0;
      if (copy_of_[c] == kNone)
        there.add(piece.card);
      else if (piece.card.bytes > 0)
        copied.push_back({kernel_seconds(piece.card, rows), copy_of_[c]});
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
    if (is_quantized) beside += card_.launch_s;
    stage.card_before = before;
    stage.card.push_back({beside + kernel_seconds(there, rows), kNone});
    stage.card.insert(stage.card.end(), copied.begin(), copied.end());
    step_.stages.push_back(std::move(stage));
  }

  void add_attention(const StepModule& step, bool on_card, std::uint64_t input, std::uint64_t output) {
    CardStage stage;
    const auto kv = static_cast<double>(step.kv_bytes), operations = static_cast<double>(step.attention_operations);
    if (on_card) {
      const int launches = kLaunchesOfAttention + (index_.model.position == compress::PositionKind::rope_half ? kLaunchesOfRotation : 0);
      stage.card.push_back({launches * card_.launch_s + card_seconds({kv, 0, operations}, card_), kNone});
    } else {
      stage.host.push_back({host_.meeting_s + host_attention_seconds(kv, operations, host_), kv, kNone});
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
    double seconds = sampling_seconds(logits);
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
