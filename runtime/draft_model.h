// A small model of the same vocabulary that says what the large one will probably say next. Its weights are resident; the plan of the large one counts all that it takes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "runtime/model.h"
#include "runtime/prefix_cache.h"

namespace leafcutter::runtime {

// Enters in `load`, the options of the model at `path`, what the draft model at `draft` will take beside it, and gives the draft model's own options: same threads, a context of the same tokens.
// Throws Error(usage) where the two have different vocabularies, and what reading a .leaf throws.
LoadOptions plan_draft_model(LoadOptions& load, const std::string& path, const std::string& draft);

class DraftModel {
 public:
  // After the large model was loaded: with options from plan_draft_model.
  DraftModel(const std::string& path, const LoadOptions& options);

  // What is drafted from now on continues this prompt.
  void begin(std::span<const std::uint32_t> prompt, std::uint32_t task);
  // Its most likely tokens behind `ids`, which are the prompt and at least one more; fills `out` as far as its context allows and says how far. Ids from `limit` on are never drafted.
  // Throws what Model::step throws, also Error(cancelled).
  std::size_t draft(std::span<const std::uint32_t> ids, std::uint32_t limit, std::span<std::uint32_t> out, std::stop_token stop = {});

  const Model& model() const { return *model_; }

 private:
  void catch_up(std::span<const std::uint32_t> ids, const std::stop_token& stop);
  void feed(std::span<const StepRow> rows, const std::stop_token& stop);
  std::uint64_t positions_of(std::size_t ids) const;  // that so many ids of the text take

  std::unique_ptr<Model> model_;
  PrefixCache prefix_;
  std::vector<float> logits_;
  std::vector<StepRow> rows_;
  std::vector<std::uint32_t> held_;  // behind the prompt, in the cache
  std::size_t prompt_ = 0;           // ids
  std::uint32_t task_ = 0;
  bool has_prompt_ = false;  // in the cache
};

}  // namespace leafcutter::runtime
