#include "offload/prediction.h"

#include <algorithm>
#include <cmath>

#include "kernels/matmul.h"
#include "offload/chunk_sizes.h"

namespace leafcutter::offload {
namespace {

using compress::ChunkEntry;
using compress::LeafIndex;

constexpr std::size_t kWarmSteps = 2, kCountedSteps = 4;

// Look-up tables and vectors are no products; a tied head is the embedding.
bool is_multiplied(compress::TensorRole role, bool tied_head) {
  switch (compress::module_of(role)) {
    case compress::ModuleKind::attention:
    case compress::ModuleKind::feed_forward:
    case compress::ModuleKind::head:
      return true;
    case compress::ModuleKind::embedding:
      return tied_head && role == compress::TensorRole::embedding;
    case compress::ModuleKind::vectors:
      break;
  }
  return false;
}

struct ModuleTime {
  double memory = 0;   // products that wait for weights
  double compute = 0;  // products that wait for arithmetic, attention, what goes by rows
  double seconds() const { return memory + compute; }
};

// How often the threads are handed something and meet again: query, key and value at once, attention, output; gate and up at once, down; the head.
double meetings_of(compress::ModuleKind kind) {
  switch (kind) {
    case compress::ModuleKind::attention:
      return 3;
    case compress::ModuleKind::feed_forward:
      return 2;
    default:
      return 1;
  }
}

// Of few rows the first query that meets a key brings it from memory, at the rate of a query that shares its keys with no other; those that share it find it there. Of many rows reading is the smaller part.
double attention_seconds(const StepModule& step, const HostRates& rates) {
  const double many = static_cast<double>(step.attention_operations) / (rates.attention_gop_s * 1e9);
  if (step.rows >= kManyAttentionRows) return many + static_cast<double>(step.kv_bytes) / (rates.memory_gb_s * 1e9);
  const double share = 1 / static_cast<double>(std::max<std::uint64_t>(1, step.rows * step.heads_a_key));
  const double first = std::max(share * static_cast<double>(step.attention_operations) / (rates.attention_one_row_gop_s * 1e9),
                                static_cast<double>(step.kv_bytes) / (rates.memory_gb_s * 1e9));
  return first + (1 - share) * many;
}

// Every product takes the longer of moving its weights and doing its arithmetic; what lies between products is counted by bytes and by meetings of the threads.
ModuleTime module_time(const LeafIndex& index, const StepModule& step, const HostRates& rates) {
  const compress::ModuleEntry& module = index.modules.at(step.module);
  ModuleTime time;
  for (std::uint32_t t = module.first_tensor; t < module.first_tensor + module.tensor_count; t++) {
    const compress::TensorEntry& tensor = index.tensors[t];
    if (!is_multiplied(tensor.role, index.model.tied_head)) continue;
    const ProductRates rate = rates.product(tensor.layout, tensor.k);
    const double moving = static_cast<double>(tensor.bytes) / (rate.one_row_gb_s * 1e9);
    const double doing = 2.0 * static_cast<double>(tensor.rows) * static_cast<double>(tensor.k) * static_cast<double>(step.rows) /
                         (rate.many_rows_gop_s * 1e9);
    (moving >= doing ? time.memory : time.compute) += std::max(moving, doing);
  }
  time.compute += attention_seconds(step, rates);
  time.memory += static_cast<double>(step.row_bytes) / (rates.memory_gb_s * 1e9);
  time.compute += meetings_of(module.kind) * rates.meeting_s;
  return time;
}

// Of the rows that are looked up: those whose chunk is in memory cost nothing worth counting.
double share_on_disk(const LeafIndex& index, const Plan& plan) {
  double bytes = 0, all = 0;
  for (const compress::ModuleEntry& module : index.modules) {
    if (module.kind != compress::ModuleKind::embedding) continue;
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      all += index.chunks[c].raw_bytes;
      if (!plan.resident.at(c)) bytes += index.chunks[c].raw_bytes;
    }
  }
  return all > 0 ? bytes / all : 0;
}

struct Work {
  std::vector<SimulatedChunk> visits;
  double memory = 0, compute = 0;
};

Work work_of(const LeafIndex& index, const Plan& plan, const StepProgram& program, const HostRates& rates) {
  Work work;
  for (const StepModule& step : program.modules) {
    const compress::ModuleEntry& module = index.modules.at(step.module);
    const ModuleTime time = module_time(index, step, rates);
    work.memory += time.memory;
    work.compute += time.compute;
    const bool in_blocks = program.block_rows > 0 && step.rows > program.block_rows;
    const double at_first = in_blocks ? static_cast<double>(program.block_rows) / static_cast<double>(step.rows) : 1;
    for (std::uint32_t c = module.first_chunk; c < module.first_chunk + module.chunk_count; c++) {
      const ChunkEntry& chunk = index.chunks[c];
      SimulatedChunk visit;
      visit.streamed = !plan.resident.at(c);
      visit.slot_bytes = slot_bytes(chunk);
      visit.read_bytes = stored_pages(chunk);
      visit.check_seconds = static_cast<double>(chunk.raw_bytes) / (rates.check_gb_s * 1e9);
      if (chunk.codec != compress::Codec::none)
        visit.check_seconds += static_cast<double>(chunk.raw_bytes) / (rates.decode_gb_s * 1e9) +
                               static_cast<double>(chunk.stored_bytes) / (rates.check_gb_s * 1e9);
      visit.compute_seconds = at_first * time.seconds() * static_cast<double>(chunk.raw_bytes) / static_cast<double>(module.bytes);
      if (at_first < 1) visit.held = module.first_chunk + module.chunk_count - 1 - c;
      work.visits.push_back(visit);
    }
    // The first block goes through the chunks as they arrive, the others when all are there.
    if (module.chunk_count > 0) work.visits.back().compute_seconds += (1 - at_first) * time.seconds();
  }
  return work;
}

bool any_coded(const LeafIndex& index, const Plan& plan) {
  return std::any_of(plan.streamed.begin(), plan.streamed.end(),
                     [&](std::uint32_t c) { return index.chunks[c].codec != compress::Codec::none; });
}

StepPrediction predict_step(const Work& work, const StepSimulation& step, bool steady) {
  StepPrediction prediction{step.seconds, step.disk_seconds, step.check_seconds, step.compute_seconds, step.wait_seconds, ""};
  const double most = std::max({step.disk_seconds, step.check_seconds, step.compute_seconds});
  if (most == step.disk_seconds && (steady || step.wait_seconds > 0))
    prediction.limit = "disk";
  else if (most == step.check_seconds)
    prediction.limit = "check";
  else
    prediction.limit = work.memory >= work.compute ? "memory" : "compute";
  return prediction;
}

}  // namespace

ProductRates HostRates::product(kernels::Layout layout, std::uint64_t k) const {
  ProductRates slowest{layout, k, 1e9, 1e9};
  for (const ProductRates& rate : products) {
    if (rate.layout == layout && rate.k == k) return rate;
    slowest.one_row_gb_s = std::min(slowest.one_row_gb_s, rate.one_row_gb_s);
    slowest.many_rows_gop_s = std::min(slowest.many_rows_gop_s, rate.many_rows_gop_s);
  }
  return slowest;
}

std::vector<ProductRates> products_of(const LeafIndex& index) {
  std::vector<ProductRates> products;
  for (const compress::TensorEntry& tensor : index.tensors) {
    const auto same = [&](const ProductRates& p) { return p.layout == tensor.layout && p.k == tensor.k; };
    if (is_multiplied(tensor.role, index.model.tied_head) && std::none_of(products.begin(), products.end(), same))
      products.push_back({tensor.layout, tensor.k, 0, 0});
  }
  return products;
}

Prediction predict(const LeafIndex& index, const Plan& plan, const StepProgram& decode, const StepProgram& prefill,
                   std::uint64_t prompt_rows, const HostRates& rates, const ReadShape& reads) {
  SimulationRates simulation;
  simulation.disk_bytes_per_s = rates.disk_gb_s * 1e9;
  simulation.read_latency_s = rates.read_latency_s;
  simulation.reads = reads;
  simulation.checkers = any_coded(index, plan) ? 2 : 1;
  simulation.compute_beside_check = rates.compute_beside_check;
  simulation.check_beside_compute = rates.check_beside_compute;

  const Work one = work_of(index, plan, decode, rates), block = work_of(index, plan, prefill, rates);
  Prediction prediction;
  prediction.decode = predict_step(one, simulate_steps(one.visits, plan.ring_bytes, simulation, kWarmSteps, kCountedSteps), true);
  const double lookup = rates.lookup_s * share_on_disk(index, plan);
  prediction.decode.seconds += lookup;
  const std::uint64_t blocks = prefill.rows > 0 ? (prompt_rows + prefill.rows - 1) / prefill.rows : 0;
  if (blocks > 0) {
    const StepSimulation all = simulate_steps(block.visits, plan.ring_bytes, simulation, 0, blocks);
    const double n = static_cast<double>(blocks);
    prediction.prefill = predict_step(
        block, {all.seconds * n, all.disk_seconds * n, all.check_seconds * n, all.compute_seconds * n, all.wait_seconds * n}, false);
    // A tile of the embedding for each row; rows of a block are looked up by all threads at once.
    prediction.prefill.seconds += lookup * static_cast<double>(prompt_rows) / 2;
  }
  prediction.load_seconds = static_cast<double>(plan.resident_bytes) / (rates.disk_gb_s * 1e9);
  prediction.tokens_per_s = 1 / std::max(prediction.decode.seconds, 1e-9);
  prediction.first_token_s = prediction.load_seconds + prediction.prefill.seconds;
  return prediction;
}

}  // namespace leafcutter::offload
