#include "runtime/model.h"

#include <malloc.h>
#include <sched.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/page_buffer.h"
#include "base/size_text.h"
#include "compress/leaf_reader.h"
#include "offload/stream_file.h"
#include "offload/throttled_file.h"
#include "runtime/device_executor.h"
#include "runtime/host_executor.h"
#include "runtime/plan_model.h"
#include "runtime/plan_on_device.h"
#include "runtime/step_runner.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;
using compress::ModuleKind;
using offload::DeviceError;

// Where a device refuses memory, the next plan gets as much less of it.
constexpr std::uint64_t kRefusedShare = 8;

std::size_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

struct OpenedFile {
  LeafIndex index;
  std::unique_ptr<Tokenizer> tokenizer;
};

std::shared_ptr<File> opened(std::shared_ptr<File> file, const LoadOptions& options) {
  return options.through ? options.through(std::move(file)) : file;
}

OpenedFile open_model(const std::string& path, const LoadOptions& options) {
  const auto file = opened(open_file(path), options);
  OpenedFile model{compress::read_leaf_index(*file), nullptr};
  if (options.without_tokenizer) return model;
  auto section = compress::read_tokenizer_section(*file, model.index);
  if (!section.empty()) {
    compress::TokenizerData data = compress::tokenizer_from_section(section, path);
    section = std::vector<std::byte>();  // it goes before the tables are made: large vocabularies fill a good part of a small budget
    model.tokenizer = std::make_unique<Tokenizer>(std::move(data), path);
  }
  malloc_trim(0);  // what reading took is given back to the system before the plan counts what is charged
  return model;
}

std::shared_ptr<File> opened_for_streaming(const std::string& path, const LoadOptions& options) {
  std::shared_ptr<File> file = opened(offload::open_for_streaming(path), options);
  return options.disk_bytes_per_s ? offload::throttle(std::move(file), static_cast<double>(*options.disk_bytes_per_s)) : file;
}

PageBuffer read_vectors(File& file, const LeafIndex& index) {
  const compress::ModuleEntry* module = nullptr;
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == ModuleKind::vectors) module = &m;
  if (!module) throw Error(ErrorKind::bad_file, file.name(), "has no module of norms");
  PageBuffer blob(module->bytes, "norms and biases");
  for (std::uint32_t c = module->first_chunk; c < module->first_chunk + module->chunk_count; c++)
    compress::read_chunk(file, index, c, blob.bytes().subspan(index.chunks[c].module_offset, index.chunks[c].raw_bytes));
  return blob;
}

class LoadedModel final : public Model {
 public:
  LoadedModel(const std::string& path, LoadOptions options, const std::string& note)
      : path_(path),
        options_(resolved(std::move(options))),
        isa_(options_.isa.value_or(kernels::default_isa())),
        opened_(open_model(path, options_)),
        file_(opened_for_streaming(path, options_)),
        on_device_(planned_on_device()),
        planned_(on_device_
                     ? on_device_->model
                     : plan_model(opened_.index, options_, offload::host_memory(), offload::charged_bytes(), opened_.tokenizer.get())),
        vectors_(read_vectors(*opened(open_file(path), options_), opened_.index)),
        weights_(resolve_weights(opened_.index, vectors_.bytes(), isa_, options_.f32_activations, path)),
        rope_(rope_of(opened_.index.model, path)),
        bias_(bias_of(opened_.index.model, weights_, planned_.ctx_size)),
        cache_(opened_.index.model, planned_.kv_type, kv_shape(planned_.ctx_size, options_),
               on_device_ ? on_device_->placement.kv_on_device : std::vector<bool>()),
        work_(opened_.index.model, {planned_.rows_per_step, planned_.rows_per_pass, options_.threads, options_.f32_activations}),
        team_(options_.threads),
        pager_(file_, opened_.index, planned_.plan,
               on_device_ ? DeviceWeights::host_order(opened_.index, on_device_->placement) : offload::chunks_of_step(opened_.index),
               account_, options_.pager),
        chunks_(opened_.index, pager_),
        executor_(make_executor()),
        runner_(weights_, *executor_, options_.pager.trace) {
    for (const offload::BufferNeed& buffer : planned_.plan.buffers)
      if (buffer.bytes > 0) entries_.push_back(account_.add(buffer.name, offload::Tier::host, buffer.bytes));
    if (!note.empty()) notes_.push_back(note);
    notes_.push_back("ctx-size " + std::to_string(planned_.ctx_size));
    if (!opened_.tokenizer && !options_.without_tokenizer) notes_.push_back("no tokenizer inside: prompts and answers are ids");
    if (on_device_) enter_device_memory();
    executor_->load(options_.stop);
    pager_.load_residents(options_.progress, options_.stop);
  }

  void step(std::span<const StepRow> rows, const StepLogits& logits, std::stop_token stop) override {
    check(rows, logits);
    cut_passes(rows);
    const std::vector<std::size_t>& cuts = lists_.cuts;
    std::size_t wanted_before = 0;
    try {
      for (std::size_t pass = 0; pass + 1 < cuts.size(); pass++) {
        const auto part = rows.subspan(cuts[pass], cuts[pass + 1] - cuts[pass]);
        for (const StepRow& row : part) cache_.append(row.sequence, row.segment);
        StepLogits rest = logits;
        rest.all = logits.all.subspan(wanted_before * opened_.index.model.vocab_size);
        rest.best = logits.best.subspan(wanted_before * logits.best_a_row);
        runner_.run(part, rest, stop);
        for (const StepRow& row : part) wanted_before += row.wants_logits;
      }
    } catch (...) {
      for (std::uint32_t s = 0; s < lists_.before.size(); s++) cache_.truncate(s, lists_.before[s]);
      executor_->abandon();
      throw;
    }
  }

  std::uint64_t cached_positions(std::uint32_t sequence) const override { return cache_.positions(sequence); }
  void truncate(std::uint32_t sequence, std::uint64_t positions) override { cache_.truncate(sequence, positions); }
  void fork(std::span<const std::uint32_t> parents) override {
    for (const std::uint32_t parent : parents) check_sequence(parent);
    if (!parents.empty()) check_sequence(static_cast<std::uint32_t>(parents.size() - 1));
    cache_.fork(parents);
  }
  const LeafIndex& index() const override { return opened_.index; }
  const Tokenizer* tokenizer() const override { return opened_.tokenizer.get(); }
  const std::vector<std::string>& notes() const override { return notes_; }
  const offload::Plan& plan() const override { return planned_.plan; }
  const offload::DevicePlan* device_plan() const override { return on_device_ ? &on_device_->placement : nullptr; }
  const offload::CardPrediction* device_prediction() const override {
    return on_device_ && on_device_->prediction ? &*on_device_->prediction : nullptr;
  }
  offload::PagerStats pager_stats() const override { return pager_.stats(); }
  const offload::MemoryAccount& account() const override { return account_; }
  std::size_t sequences() const override { return options_.sequences; }
  std::uint64_t ctx_size() const override { return planned_.ctx_size; }
  std::uint64_t rows_per_step() const override { return planned_.rows_per_step; }
  std::uint64_t rows_per_pass() const override { return planned_.rows_per_pass; }
  std::uint64_t logit_rows() const override { return planned_.logit_rows; }
  kernels::KvType kv_type() const override { return planned_.kv_type; }
  kernels::Isa isa() const override { return isa_; }
  std::size_t threads() const override { return team_.size(); }
  double compute_busy_seconds() const override { return team_.busy_seconds(); }
  std::uint32_t token_limit() const override {
    const std::uint32_t rows = opened_.index.model.vocab_size;
    return opened_.tokenizer ? std::min(rows, opened_.tokenizer->vocabulary_size()) : rows;
  }

 private:
  static LoadOptions resolved(LoadOptions options) {
    const std::size_t taken = options.device ? options.device->properties().host_cores : 0, cores = usable_cores();
    if (options.threads == 0) options.threads = cores > taken ? cores - taken : 1;
    return options;
  }

  std::optional<DeviceModelPlan> planned_on_device() const {
    if (!options_.device) return std::nullopt;
    return plan_on_device(opened_.index, options_, offload::host_memory(), offload::charged_bytes(), opened_.tokenizer.get());
  }

  std::unique_ptr<BlockExecutor> make_executor() {
    const HostContext host{opened_.index, rope_, bias_, cache_, work_, chunks_, team_, *file_, isa_};
    if (!on_device_) return std::make_unique<HostExecutor>(host);
    options_.device->drain();  // a load before this one may have left a failure behind
    return std::make_unique<DeviceExecutor>(
        DeviceContext{host, vectors_.bytes(), on_device_->placement, pager_, *options_.device, on_device_->shape, options_.pager.trace});
  }

  void enter_device_memory() {
    const auto enter = [&](const std::string& name, std::uint64_t bytes) {
      if (bytes > 0) entries_.push_back(account_.add(name, offload::Tier::device, bytes));
    };
    for (const offload::BufferNeed& buffer : on_device_->device_buffers) enter(buffer.name, buffer.bytes);
    enter("KV cache", on_device_->placement.device_kv_bytes);
    enter("resident weights", on_device_->placement.device_resident_bytes);
    enter("ring of copied chunks", on_device_->placement.device_ring_bytes);
  }

  static RopeTable rope_of(const compress::ModelDescription& model, const std::string& path) {
    if (model.position != compress::PositionKind::rope_half) return {};
    std::uint32_t head_dim = 0;
    for (const compress::LayerDescription& layer : model.layers) {
      if (!layer.has_attention) continue;
      if (head_dim != 0 && head_dim != layer.head_dim && model.rope.rotary_dim == 0)
        throw Error(ErrorKind::unsupported, path, "its layers rotate heads of different sizes");
      head_dim = layer.head_dim;
    }
    return rope_table(model.rope, head_dim);
  }

  static PositionBias bias_of(const compress::ModelDescription& model, const ModelWeights& weights, std::uint64_t ctx_size) {
    return weights.position_bias ? PositionBias(model.segment_bias, weights.position_bias, ctx_size) : PositionBias();
  }

  void check_sequence(std::uint32_t sequence) const {
    if (sequence >= options_.sequences)
      throw Error(ErrorKind::usage, path_, "sequence " + std::to_string(sequence) + " of " + std::to_string(options_.sequences));
  }

  void check_token(const StepRow& row) const {
    const compress::ModelDescription& model = opened_.index.model;
    const bool segments = model.position == compress::PositionKind::segment_relative_bias;
    const std::uint64_t slots = std::uint64_t{model.segment_bias.prompt_types} * model.segment_bias.prompt_length;
    if (row.prompt_slot && (!segments || row.id >= slots))
      throw Error(ErrorKind::usage, path_, "prompt slot " + std::to_string(row.id) + " of " + std::to_string(segments ? slots : 0));
    if (!row.prompt_slot && row.id >= model.vocab_size)
      throw Error(ErrorKind::usage, path_,
                  "id " + std::to_string(row.id) + " is past the vocabulary of " + std::to_string(model.vocab_size));
    if (segments ? row.segment >= model.segment_bias.segment_types : row.segment != 0)
      throw Error(ErrorKind::usage, path_,
                  "segment " + std::to_string(row.segment) + " of " + std::to_string(segments ? model.segment_bias.segment_types : 1));
  }

  void check(std::span<const StepRow> rows, const StepLogits& logits) {
    auto& [before, next, begun, context_end, cuts] = lists_;
    before.clear();
    begun.clear();
    for (std::uint32_t s = 0; s < options_.sequences; s++) {
      before.push_back(cache_.positions(s));
      begun.push_back(before[s] > 0);
    }
    next = before;
    std::size_t wanted = 0;
    for (const StepRow& row : rows) {
      check_token(row);
      check_sequence(row.sequence);
      if (row.position != next[row.sequence])
        throw Error(ErrorKind::usage, path_,
                    "position " + std::to_string(row.position) + " follows " + std::to_string(next[row.sequence]) + " cached ones");
      if (row.position >= cache_.max_positions())
        throw Error(ErrorKind::usage, path_,
                    "position " + std::to_string(row.position) + " is past the context of " + std::to_string(cache_.max_positions()),
                    "raise --ctx-size");
      if (row.context && begun[row.sequence])
        throw Error(ErrorKind::usage, path_, "position " + std::to_string(row.position) + " is context behind what context does not see",
                    "give a sequence's context first and at once");
      if (!row.context) begun[row.sequence] = true;
      next[row.sequence]++;
      wanted += row.wants_logits;
    }
    if (rows.size() > cache_.free_slots())
      throw Error(ErrorKind::usage, path_,
                  std::to_string(rows.size()) + " more positions where the KV cache has room for " + std::to_string(cache_.free_slots()),
                  "raise --ctx-size");
    const std::size_t vocabulary = opened_.index.model.vocab_size;
    if (logits.all.size() < wanted * vocabulary)
      throw Error(ErrorKind::usage, path_,
                  "room for " + std::to_string(logits.all.size()) + " logits where " + std::to_string(wanted) + " rows want them");
    const std::size_t most = std::min({kMostBest, vocabulary, std::size_t{logits.best_below}});
    if (logits.best_a_row > most || logits.best.size() < wanted * logits.best_a_row)
      throw Error(ErrorKind::usage, path_,
                  "room for " + std::to_string(logits.best.size()) + " where " + std::to_string(wanted) + " rows want their best " +
                      std::to_string(logits.best_a_row) + " of at most " + std::to_string(most) + " logits");
  }

  // Where passes begin and end: as long as they may be, but never between the context rows of a sequence.
  void cut_passes(std::span<const StepRow> rows) {
    std::vector<std::size_t>&context_end = lists_.context_end, &cuts = lists_.cuts;
    context_end.assign(options_.sequences, 0);
    for (std::size_t r = 0; r < rows.size(); r++)
      if (rows[r].context) context_end[rows[r].sequence] = r + 1;
    cuts.assign(1, 0);
    while (cuts.back() < rows.size()) {
      const std::size_t begin = cuts.back(), limit = std::min<std::size_t>(rows.size(), begin + work_.pass_rows);
      std::size_t cut = begin, open = begin;  // context that has begun ends here
      for (std::size_t r = begin; r < limit; r++) {
        if (rows[r].context) open = std::max(open, context_end[rows[r].sequence]);
        if (open <= r + 1) cut = r + 1;
      }
      if (cut == begin)
        throw Error(ErrorKind::out_of_budget, path_,
                    "a prompt of " + std::to_string(open - begin) + " rows that see each other, where the plan has room for " +
                        std::to_string(work_.pass_rows) + " at once",
                    "load the model with room for this prompt (--ctx-size)");
      cuts.push_back(cut);
    }
  }

  // What is known of a step's rows before it runs. Kept from one step to the next: a step allocates nothing.
  struct StepLists {
    std::vector<std::uint64_t> before, next;  // of each sequence: positions that are cached, and with the rows looked at so far
    std::vector<bool> begun;                  // has anything that was no context
    std::vector<std::size_t> context_end;     // behind its last context row
    std::vector<std::size_t> cuts;            // where passes begin and end
  };

  std::string path_;
  LoadOptions options_;
  kernels::Isa isa_;
  OpenedFile opened_;
  std::shared_ptr<File> file_;
  std::optional<DeviceModelPlan> on_device_;  // where steps run on a device
  PlannedModel planned_;
  offload::MemoryAccount account_;
  std::vector<offload::MemoryAccount::Entry> entries_;
  PageBuffer vectors_;
  ModelWeights weights_;
  RopeTable rope_;
  PositionBias bias_;
  KvCache cache_;
  Workspace work_;
  ThreadTeam team_;
  offload::Pager pager_;
  ChunkHolder chunks_;
  std::unique_ptr<BlockExecutor> executor_;
  StepRunner runner_;
  StepLists lists_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Model> Model::load(const std::string& path, const LoadOptions& options) {
  LoadOptions tried = options;
  std::optional<DeviceError> refused;
  std::string note;
  for (;;) {
    try {
      return std::make_unique<LoadedModel>(path, tried, note);
    } catch (const DeviceError& e) {
      if (e.failure() != offload::DeviceFailure::out_of_memory) throw;
      refused = e;
    } catch (const Error& e) {
      if (!refused || e.kind() != ErrorKind::out_of_budget) throw;
      throw DeviceError(offload::DeviceFailure::out_of_memory, refused->what(), std::string("and no smaller plan fits: ") + e.what());
    }
    const std::uint64_t memory = options.device->properties().memory_bytes, last = std::min(memory, tried.device_memory.value_or(memory));
    tried.device_memory = last - (last / kRefusedShare + 1);
    note = "device memory: planned for " + format_bytes(*tried.device_memory) + ", since more was refused";
  }
}

}  // namespace leafcutter::runtime
