// A loaded model: the file, the plan for a budget, pager, KV cache, workspace and threads. Steps of R rows from several sequences.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/size_text.h"
#include "base/thread_team.h"
#include "compress/leaf_index.h"
#include "kernels/isa.h"
#include "kernels/kv_rows.h"
#include "kernels/ranked.h"
#include "offload/card_prediction.h"
#include "offload/device.h"
#include "offload/device_plan.h"
#include "offload/host_memory.h"
#include "offload/pager.h"
#include "offload/planner.h"
#include "runtime/tokenizer.h"

namespace leafcutter::runtime {

struct LoadOptions {
  std::optional<SizeText> memory;           // --memory; none: what is available
  std::size_t threads = 0;                  // 0: all cores this process may use, but those that the device keeps busy
  std::uint64_t ctx_size = 0;               // KV rows a sequence; 0: min(model's, what the budget allows, 2048), grown to needed_positions
  std::uint64_t needed_positions = 0;       // prompt + n; an explicit smaller ctx_size is an error
  std::uint64_t prompt_positions = 0;       // the longest prompt that will come, prompt slots included; 0: as long as the context
  std::uint64_t rows_per_step = 0;          // largest block of rows; 0: chosen (512, fewer when the budget is small)
  std::uint64_t rows_per_pass = 0;          // rows that go through the layers in one pass over the weights, in blocks; 0: chosen
  std::uint64_t logit_rows = 1;             // rows of one step that may want logits: what is planned for, no limit
  std::uint64_t draft_rows = 0;             // as many more, for drafts to be verified, as cost little of the budget; 0 where it is tight
  std::vector<offload::BufferNeed> beside;  // what else in this process the budget has to hold: a draft model
  bool without_tokenizer = false;           // only ids are needed
  std::size_t sequences = 1;
  std::optional<std::uint64_t>
      forked_positions;  // sequences are forked from the first: KV rows that they have together beyond ctx_size. None: ctx_size for each
  bool f32_activations =
      false;  // quantized weights are multiplied with f32 instead of int8 rows: slow, for measuring what the weights alone lose
  std::optional<kernels::KvType> kv_type;  // none: f16, f32 for an f32 file
  std::optional<kernels::Isa> isa;         // none: kernels::default_isa()
  offload::PagerOptions pager;
  std::optional<std::uint64_t> disk_bytes_per_s;  // read no faster than this: for tests and predictions
  std::shared_ptr<offload::Device> device;        // where steps run; none: on the CPU. One model at a time
  std::optional<std::uint64_t> device_memory;     // what a plan may use of the device's; none: all of it
  std::optional<offload::DeviceRates>
      device_rates;       // by which it is chosen what stays where and who computes what. None: what the device has no room for is copied
  double host_share = 0;  // without rates, of each chunk that is not on the device: what the host computes
  std::function<void(offload::DevicePlan&)> device_sides;                 // changes who computes what before the plan is carried out
  std::function<std::shared_ptr<File>(std::shared_ptr<File>)> through;    // each time the model's file is opened: what it is read through
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // loading
  std::stop_token stop;
};

// One row of a step: a token at a position of a sequence. A sequence's rows come in order of position, without gaps after what its cache holds.
//
// A context row sees all context rows of its sequence, later ones too; any other row sees what lies before it and itself. All context rows of a sequence come in one step, as its first ones.
struct StepRow {
  std::uint32_t id = 0;
  std::uint64_t position = 0;
  std::uint32_t sequence = 0;
  bool wants_logits = false;
  bool context = false;
  bool prompt_slot = false;  // CPM-Ant: id is a row of the prompt embedding
  std::uint8_t segment = 0;  // CPM-Ant
};

constexpr std::size_t kMostBest = 256;  // of StepLogits::best_a_row

// Where a step puts the logits of the rows that want them, in order of rows.
struct StepLogits {
  std::span<float> all = {};  // vocab_size of each row
  // Where some are asked for: the largest of each row instead, largest first, ties to the smaller id, NaN smaller than everything. Then `all` is memory that the step may use, and what is in it afterwards is not
  // said: on a device the logits stay where they are.
  std::span<kernels::Ranked> best = {};
  std::size_t best_a_row = 0;
  std::uint32_t best_below = ~0u;  // only ids below it count
};

class Model {
 public:
  // Where a device refuses memory that it said it has, smaller plans are tried, and a note says so. Throws Error: bad_file, unsupported, out_of_budget (before the first weight is read), cancelled; DeviceError.
  static std::unique_ptr<Model> load(const std::string& path, const LoadOptions& options);
  virtual ~Model() = default;

  // Runs all rows, layer by layer, in as few passes over the weights as rows_per_pass allows. Throws Error(cancelled) within one module of a stop request, Error(io | bad_file) for the file; the caches then hold what
  // they held before the step.
  virtual void step(std::span<const StepRow> rows, const StepLogits& logits, std::stop_token stop = {}) = 0;
  void step(std::span<const StepRow> rows, std::span<float> logits, std::stop_token stop = {}) {
    step(rows, StepLogits{logits}, std::move(stop));
  }

  virtual std::uint64_t cached_positions(std::uint32_t sequence) const = 0;
  virtual void truncate(std::uint32_t sequence, std::uint64_t positions) = 0;  // forget from there on
  virtual void fork(
      std::span<const std::uint32_t> parents) = 0;  // sequence i goes on from where sequence parents[i] stood; keys and values are shared

  virtual const compress::LeafIndex& index() const = 0;
  virtual const Tokenizer* tokenizer() const = 0;             // null: none in the file
  virtual const std::vector<std::string>& notes() const = 0;  // for people: "ctx-size 2048", "no tokenizer inside", ...
  virtual const offload::Plan& plan() const = 0;
  virtual const offload::DevicePlan* device_plan() const = 0;            // null: steps run on the CPU
  virtual const offload::CardPrediction* device_prediction() const = 0;  // what it was chosen by; null without device_rates
  virtual offload::PagerStats pager_stats() const = 0;
  virtual const offload::MemoryAccount& account() const = 0;
  virtual std::uint64_t ctx_size() const = 0;
  virtual std::size_t sequences() const = 0;
  virtual std::uint64_t rows_per_step() const = 0;
  virtual std::uint64_t rows_per_pass() const = 0;
  virtual std::uint64_t logit_rows() const = 0;  // that a step has memory for, drafts included
  virtual kernels::KvType kv_type() const = 0;
  virtual kernels::Isa isa() const = 0;
  virtual std::size_t threads() const = 0;
  virtual double compute_busy_seconds() const = 0;  // of all threads together
  virtual std::uint32_t token_limit() const = 0;    // ids that may be generated: min(vocab_size, tokenizer's real vocabulary)
};

// The plan that load() would carry out, without reading weights; for `plan` and for refusing early. The index may come from a checkpoint or a shape (lay_out_leaf).
struct PlannedModel {
  offload::Plan plan;
  offload::StepProgram decode, prefill;
  std::uint64_t ctx_size = 0, rows_per_step = 0, rows_per_pass = 0, logit_rows = 0;
  kernels::KvType kv_type{};
};
PlannedModel plan_model(const compress::LeafIndex& index, const LoadOptions& options, const offload::HostMemory& host,
                        std::uint64_t already_charged, const Tokenizer* tokenizer);

}  // namespace leafcutter::runtime
