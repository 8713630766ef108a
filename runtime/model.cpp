#include "runtime/model.h"

#include <malloc.h>
#include <sched.h>

#include <algorithm>

#include "base/error.h"
#include "base/page_buffer.h"
#include "compress/leaf_reader.h"
#include "offload/stream_file.h"
#include "offload/throttled_file.h"
#include "runtime/step_runner.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;
using compress::ModuleKind;

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

OpenedFile open_model(const std::string& path) {
  const auto file = open_file(path);
  OpenedFile opened{compress::read_leaf_index(*file), nullptr};
  auto section = compress::read_tokenizer_section(*file, opened.index);
  if (!section.empty()) opened.tokenizer = std::make_unique<Tokenizer>(compress::tokenizer_from_section(section, path), path);
  section = {};
  malloc_trim(0);  // what reading took is given back to the system before the plan counts what is charged
  return opened;
}

std::shared_ptr<File> opened_file(const std::string& path, const LoadOptions& options) {
  std::shared_ptr<File> file = offload::open_for_streaming(path);
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

// Chunks in the order of a step.
std::vector<std::uint32_t> order_of_use(const LeafIndex& index) {
  std::vector<std::uint32_t> order;
  const auto add = [&](const compress::ModuleEntry& m) {
    for (std::uint32_t c = m.first_chunk; c < m.first_chunk + m.chunk_count; c++) order.push_back(c);
  };
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == ModuleKind::attention || m.kind == ModuleKind::feed_forward) add(m);
  for (const compress::ModuleEntry& m : index.modules)
    if (m.kind == (index.model.tied_head ? ModuleKind::embedding : ModuleKind::head)) add(m);
  return order;
}

class LoadedModel final : public Model {
 public:
  LoadedModel(const std::string& path, LoadOptions options)
      : path_(path),
        options_(resolved(std::move(options))),
        isa_(options_.isa.value_or(kernels::default_isa())),
        opened_(open_model(path)),
        file_(opened_file(path, options_)),
        planned_(plan_model(opened_.index, options_, offload::host_memory(), offload::charged_bytes(), opened_.tokenizer.get())),
        vectors_(read_vectors(*open_file(path), opened_.index)),
        weights_(resolve_weights(opened_.index, vectors_.bytes(), isa_, path)),
        rope_(rope_table(opened_.index.model.rope, head_dim())),
        cache_(opened_.index.model, planned_.kv_type, planned_.ctx_size, options_.sequences),
        work_(opened_.index.model, planned_.rows_per_step, options_.threads),
        team_(options_.threads),
        pager_(file_, opened_.index, planned_.plan, order_of_use(opened_.index), account_, options_.pager),
        chunks_(opened_.index, pager_),
        runner_({opened_.index, weights_, rope_, cache_, work_, chunks_, team_, *file_, isa_}) {
    for (const offload::BufferNeed& buffer : planned_.plan.buffers)
      if (buffer.bytes > 0) entries_.push_back(account_.add(buffer.name, offload::Tier::host, buffer.bytes));
    notes_.push_back("ctx-size " + std::to_string(planned_.ctx_size));
    if (!opened_.tokenizer) notes_.push_back("no tokenizer inside: prompts and answers are ids");
    pager_.load_residents(options_.progress, options_.stop);
  }

  void step(std::span<const StepRow> rows, std::span<float> logits, std::stop_token stop) override {
    check(rows, logits);
    const std::vector<std::uint64_t> before = positions();
    std::size_t logits_done = 0;
    try {
      for (std::size_t begin = 0; begin < rows.size(); begin += work_.rows) {
        const auto block = rows.subspan(begin, std::min<std::size_t>(work_.rows, rows.size() - begin));
        runner_.run(block, logits.subspan(logits_done), stop);
        for (const StepRow& row : block) {
          if (row.wants_logits) logits_done += opened_.index.model.vocab_size;
          cache_.set_positions(row.sequence, row.position + 1);
        }
      }
    } catch (...) {
      for (std::uint32_t s = 0; s < before.size(); s++) cache_.set_positions(s, before[s]);
      chunks_.abandon();
      throw;
    }
  }

  std::uint64_t cached_positions(std::uint32_t sequence) const override { return cache_.positions(sequence); }
  void truncate(std::uint32_t sequence, std::uint64_t positions) override {
    cache_.set_positions(sequence, std::min(positions, cache_.positions(sequence)));
  }
  const LeafIndex& index() const override { return opened_.index; }
  const Tokenizer* tokenizer() const override { return opened_.tokenizer.get(); }
  const std::vector<std::string>& notes() const override { return notes_; }
  const offload::Plan& plan() const override { return planned_.plan; }
  offload::PagerStats pager_stats() const override { return pager_.stats(); }
  const offload::MemoryAccount& account() const override { return account_; }
  std::uint64_t ctx_size() const override { return planned_.ctx_size; }
  std::uint64_t rows_per_step() const override { return planned_.rows_per_step; }
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
    if (options.threads == 0) options.threads = usable_cores();
    return options;
  }

  std::uint32_t head_dim() const {
    for (const compress::LayerDescription& layer : opened_.index.model.layers)
      if (layer.has_attention) return layer.head_dim;
    return 0;
  }

  std::vector<std::uint64_t> positions() const {
    std::vector<std::uint64_t> all;
    for (std::uint32_t s = 0; s < options_.sequences; s++) all.push_back(cache_.positions(s));
    return all;
  }

  void check(std::span<const StepRow> rows, std::span<float> logits) const {
    std::vector<std::uint64_t> next = positions();
    std::size_t wanted = 0;
    for (const StepRow& row : rows) {
      if (row.id >= opened_.index.model.vocab_size)
        throw Error(ErrorKind::usage, path_,
                    "id " + std::to_string(row.id) + " is past the vocabulary of " + std::to_string(opened_.index.model.vocab_size));
      if (row.sequence >= next.size())
        throw Error(ErrorKind::usage, path_, "sequence " + std::to_string(row.sequence) + " of " + std::to_string(next.size()));
      if (row.position != next[row.sequence])
        throw Error(ErrorKind::usage, path_,
                    "position " + std::to_string(row.position) + " follows " + std::to_string(next[row.sequence]) + " cached ones");
      if (row.position >= planned_.ctx_size)
        throw Error(ErrorKind::usage, path_,
                    "position " + std::to_string(row.position) + " is past the context of " + std::to_string(planned_.ctx_size),
                    "raise --ctx-size");
      next[row.sequence]++;
      wanted += row.wants_logits;
    }
    if (logits.size() < wanted * opened_.index.model.vocab_size)
      throw Error(ErrorKind::usage, path_,
                  "room for " + std::to_string(logits.size()) + " logits where " + std::to_string(wanted) + " rows want them");
  }

  std::string path_;
  LoadOptions options_;
  kernels::Isa isa_;
  OpenedFile opened_;
  std::shared_ptr<File> file_;
  PlannedModel planned_;
  offload::MemoryAccount account_;
  std::vector<offload::MemoryAccount::Entry> entries_;
  PageBuffer vectors_;
  ModelWeights weights_;
  RopeTable rope_;
  KvCache cache_;
  Workspace work_;
  ThreadTeam team_;
  offload::Pager pager_;
  ChunkHolder chunks_;
  StepRunner runner_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Model> Model::load(const std::string& path, const LoadOptions& options) {
  return std::make_unique<LoadedModel>(path, options);
}

}  // namespace leafcutter::runtime
