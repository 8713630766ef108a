// More rows a step: tokens are drafted, from the text itself or by a small model, and verified as rows of one step. What comes out is the same to the bit as without: a row's logits do not depend on
// the rows beside it, each is sampled in turn by the one sampler, and the first token that differs from its draft ends the step's use.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "runtime/copy_follower.h"
#include "runtime/draft_policy.h"
#include "runtime/model.h"

namespace leafcutter::runtime {

class DraftModel;

constexpr std::uint64_t kMostDrafts = 15;

// Of drafts from the text itself. automatic: where they pay, by what was right lately and what rows cost; always: wherever the end of the text stood before.
enum class Lookup : std::uint8_t { off, automatic, always };

// "auto", "on" or "off". Throws Error(usage) for any other name.
Lookup lookup_named(std::string_view name);

struct SpeculationOptions {
  Lookup lookup = Lookup::off;
  DraftModel* draft_model = nullptr;  // or none
  std::uint64_t draft_tokens = 0;     // of the draft model, in each step; 0: as many as pay
  bool any() const { return lookup != Lookup::off || draft_model != nullptr; }
};

// Sets what a model needs to be loaded with. Look-up by itself takes memory only where that is little of the budget; what was asked for expressly is planned for like anything else.
void plan_for_speculation(LoadOptions& load, Lookup lookup, bool draft_model, std::uint64_t draft_tokens = 0);

struct DraftCount {
  std::uint64_t steps = 0;  // that had drafts
  std::uint64_t drafted = 0, accepted = 0;
  std::uint64_t rejections = 0;  // steps in which a draft was wrong
  double seconds = 0;            // making them

  // That a draft is right, given that those before it are.
  double acceptance() const {
    return accepted + rejections > 0 ? static_cast<double>(accepted) / static_cast<double>(accepted + rejections) : 0;
  }
};

struct SpeculationReport {
  DraftCount lookup, model;
  std::uint64_t steps = 0;    // of decoding
  double one_row_s = 0;       // a step without drafts takes; 0: there was none
  double predicted_gain = 0;  // in tokens a second, by acceptance, drafts a step and what rows and drafts cost; 0: not known
  double measured_gain = 0;   // tokens * one_row_s / time
};

// Of one generation. Not thread-safe.
class Speculator {
 public:
  Speculator(const Model& model, const SpeculationOptions& options);
  Speculator(const Speculator&) = delete;
  Speculator& operator=(const Speculator&) = delete;

  // Rows of a step, at most.
  std::size_t most_rows() const { return most_drafts_ + 1; }

  // `rows` of a prompt were read.
  void begin(std::span<const std::uint32_t> prompt, std::uint32_t task, std::size_t rows, double seconds);
  // At most `most` drafts of what follows `ids`, prompt and generated ones; valid until the next call. Throws what DraftModel::draft throws.
  std::span<const std::uint32_t> draft(std::span<const std::uint32_t> ids, std::uint64_t most, const std::stop_token& stop);
  // The step with the last drafts as its rows behind the first took so long,
  void step_took(double seconds);
  // and so many of them were right; `wrong`: another came in place of the next.
  void verified(std::size_t accepted, bool wrong);

  SpeculationReport report() const;

 private:
  enum class Source : std::uint8_t { none, lookup, model };
  struct StepTime {
    std::uint64_t steps = 0;
    double seconds = 0;
    double mean() const { return steps > 0 ? seconds / static_cast<double>(steps) : 0; }
  };
  using StepsByDrafts = std::array<std::uint64_t, kMostDrafts + 1>;

  void look_back(std::span<const std::uint32_t> ids);
  Acceptance& acceptance_of(CopyEvidence evidence);
  DraftChoice choose_lookup(CopyEvidence evidence, std::size_t most);
  DraftChoice choose_model(std::size_t most);
  void ask_model(std::span<const std::uint32_t> ids, std::size_t count, const std::stop_token& stop);

  const SpeculationOptions options_;
  const std::uint32_t limit_;  // of ids
  const std::size_t most_drafts_;
  StepCosts costs_;
  CopyFollower follower_;
  std::vector<Acceptance> of_repeats_, of_copies_;  // drafts from the text, by what agreed before them
  Acceptance of_model_;
  std::array<std::uint32_t, kMostDrafts> buffer_{};
  std::span<const std::uint32_t> drafts_;  // of the last step, in buffer_
  Source source_ = Source::none;
  Acceptance* tried_ = nullptr;  // what the last drafts from the text are counted in
  // What the text would have proposed where nothing of it was tried: whether that comes is seen at no cost.
  struct Watched {
    Acceptance* counted_in = nullptr;  // none: nothing is watched
    std::size_t at = 0;
    std::uint32_t id = 0;
  } watched_;
  std::uint64_t plain_steps_ago_ = 0;             // steps since one without drafts
  std::uint64_t declined_ = 0, probe_after_ = 0;  // steps in a row without the draft model, and how many until it is tried again
  double seconds_a_draft_ = 0;                    // of the draft model; 0: not known
  bool model_has_prompt_ = false;

  DraftCount lookup_, model_;
  StepsByDrafts lookup_steps_{}, model_steps_{};
  std::array<StepTime, kMostDrafts + 1> times_{};  // by drafts
  std::uint64_t steps_ = 0, tokens_ = 0;
};

}  // namespace leafcutter::runtime
