#include "runtime/draft_model.h"

#include <malloc.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "compress/leaf_reader.h"
#include "kernels/elementwise.h"
#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;

struct Vocabulary {
  std::uint32_t rows = 0;                 // of the embedding
  std::optional<std::uint64_t> spelling;  // a hash of all tokens (FNV-1a); none: no tokenizer inside
  std::uint64_t tokens = 0;
};

// One at a time: two vocabularies would not fit where one does.
Vocabulary vocabulary_of(const std::string& path) {
  const auto file = open_file(path);
  const LeafIndex index = compress::read_leaf_index(*file);
  Vocabulary vocabulary{index.model.vocab_size, std::nullopt, 0};
  auto section = compress::read_tokenizer_section(*file, index);
  if (section.empty()) return vocabulary;
  const compress::TokenizerData data = compress::tokenizer_from_section(section, path);
  constexpr std::uint64_t kBasis = 0xcbf29ce484222325, kPrime = 0x100000001b3;
  constexpr unsigned kTokenEnd = 256;  // no byte
  std::uint64_t hash = kBasis;
  const auto mix = [&](unsigned value) { hash = (hash ^ value) * kPrime; };
  for (const std::string& token : data.tokens) {
    for (const char c : token) mix(static_cast<unsigned char>(c));
    mix(kTokenEnd);
  }
  vocabulary.spelling = hash;
  vocabulary.tokens = data.tokens.size();
  return vocabulary;
}

void check_same_vocabulary(const std::string& path, const std::string& draft) {
  const Vocabulary large = vocabulary_of(path), small = vocabulary_of(draft);
  malloc_trim(0);
  if (large.spelling && small.spelling) {
    if (large.tokens != small.tokens)
      throw Error(ErrorKind::usage, draft,
                  "has " + std::to_string(small.tokens) + " tokens where " + path + " has " + std::to_string(large.tokens),
                  "a draft model needs the same vocabulary");
    if (large.spelling != small.spelling)
      throw Error(ErrorKind::usage, draft, "spells its tokens differently from " + path, "a draft model needs the same vocabulary");
  } else if (large.rows != small.rows) {
    throw Error(ErrorKind::usage, draft,
                "has a vocabulary of " + std::to_string(small.rows) + " where " + path + " has " + std::to_string(large.rows),
                "a draft model needs the same vocabulary");
  }
}

std::uint64_t without_slots(std::uint64_t positions, std::uint64_t slots) { return positions - std::min(positions, slots); }

}  // namespace

LoadOptions plan_draft_model(LoadOptions& load, const std::string& path, const std::string& draft) {
  constexpr std::uint64_t kSlack = std::uint64_t{1} << 20;  // the heap may have grown by then
  constexpr std::uint64_t kBlock = 64;
  check_same_vocabulary(path, draft);
  const std::uint64_t slots = prompt_slots(compress::read_leaf_index(*open_file(path)).model);
  const LeafIndex index = compress::read_leaf_index(*open_file(draft));
  const std::uint64_t own_slots = prompt_slots(index.model);
  const auto own = [&](std::uint64_t positions) { return positions == 0 ? 0 : without_slots(positions, slots) + own_slots; };
  LoadOptions options;
  options.threads = load.threads;
  options.ctx_size = own(load.ctx_size);
  options.needed_positions = own(load.needed_positions);
  options.prompt_positions = own(load.prompt_positions);
  options.without_tokenizer = true;
  options.isa = load.isa;
  options.pager = load.pager;
  options.pager.trace = nullptr;
  options.disk_bytes_per_s = load.disk_bytes_per_s;
  options.stop = load.stop;
  // Where no weight is streamed, small blocks of rows cost nothing and take little.
  options.rows_per_step = options.prompt_positions > 0 ? std::min(options.prompt_positions, kBlock) : kBlock;
  if (own_slots == 0) options.rows_per_pass = options.rows_per_step;

  // With all its weights in memory, whatever this machine has: whether that fits is for the plan of the large model to say, which names both.
  offload::HostMemory boundless;
  boundless.available = boundless.total = std::uint64_t{1} << 62;
  const PlannedModel planned = plan_model(index, options, boundless, 0, nullptr);
  options.ctx_size = planned.ctx_size;
  options.memory = SizeText{.bytes = planned.plan.total + kSlack};
  load.beside.push_back({"draft model", options.memory->bytes});
  return options;
}

namespace {

// The budget is the draft model's own; what is there already comes on top.
LoadOptions beside_what_is_there(LoadOptions options) {
  options.memory->bytes += offload::charged_bytes();
  return options;
}

}  // namespace

DraftModel::DraftModel(const std::string& path, const LoadOptions& options)
    : model_(Model::load(path, beside_what_is_there(options))), prefix_(*model_), logits_(model_->index().model.vocab_size) {
  held_.reserve(model_->ctx_size());
  rows_.reserve(model_->ctx_size());
}

void DraftModel::begin(std::span<const std::uint32_t> prompt, std::uint32_t task) {
  if (has_prompt_) prefix_.append(held_);
  held_.clear();
  prompt_ = prompt.size();
  task_ = task;
  has_prompt_ = false;
}

std::uint64_t DraftModel::positions_of(std::size_t ids) const { return prompt_slots(model_->index().model) + ids; }

void DraftModel::feed(std::span<const StepRow> rows, const std::stop_token& stop) { model_->step(rows, logits_, stop); }

void DraftModel::catch_up(std::span<const std::uint32_t> ids, const std::stop_token& stop) {
  const auto generated = ids.subspan(prompt_);
  if (!has_prompt_) {
    const auto rest = prefix_.rest_of(ids.first(prompt_), task_);
    feed(prompt_rows(*model_, rest, task_), stop);
    has_prompt_ = true;
  }
  const std::size_t same = static_cast<std::size_t>(
      std::mismatch(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(std::min(held_.size(), generated.size())), generated.begin())
          .first -
      held_.begin());
  // The logits behind the last id are wanted: it is fed again if it is there already.
  const std::size_t keep = std::min(same, generated.size() - 1);
  model_->truncate(0, positions_of(prompt_ + keep));
  held_.resize(keep);
  rows_.clear();
  for (std::size_t i = keep; i < generated.size(); i++)
    rows_.push_back(text_row(*model_, generated[i], positions_of(prompt_ + i), 0, i + 1 == generated.size()));
  feed(rows_, stop);
  held_.insert(held_.end(), generated.begin() + static_cast<std::ptrdiff_t>(keep), generated.end());
}

std::size_t DraftModel::draft(std::span<const std::uint32_t> ids, std::uint32_t limit, std::span<std::uint32_t> out, std::stop_token stop) {
  limit = std::min(limit, model_->token_limit());
  const std::uint64_t there = positions_of(ids.size()), room = model_->ctx_size() + 1;  // the last draft is not fed
  if (ids.size() <= prompt_ || there >= room ||
      std::any_of(ids.begin(), ids.end(), [&](std::uint32_t id) { return id >= model_->index().model.vocab_size; }))
    return 0;
  const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), room - there));
  if (count == 0) return 0;
  catch_up(ids, stop);
  for (std::size_t i = 0;; i++) {
    out[i] = static_cast<std::uint32_t>(kernels::arg_max(std::span<const float>(logits_).first(limit)));
    if (i + 1 == count) return count;
    const StepRow row = text_row(*model_, out[i], there + i, 0, true);
    feed({&row, 1}, stop);
    held_.push_back(out[i]);
  }
}

}  // namespace leafcutter::runtime
