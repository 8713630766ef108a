#include "runtime/speculation.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/error.h"
#include "runtime/draft_model.h"

namespace leafcutter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// By how many ids agreed; how often first drafts are right before anything was seen.
struct LengthClass {
  std::size_t least;
  double of_repeats, of_copies;
};
constexpr LengthClass kLengths[] = {{0, 0.05, 0.15}, {1, 0.05, 0.2}, {2, 0.15, 0.25}, {3, 0.3, 0.35},
                                    {4, 0.45, 0.5},  {6, 0.6, 0.7},  {9, 0.8, 0.85}};
constexpr double kLaterPrior = 0.75;  // of drafts from the text, behind one that was right
constexpr DraftRates kModelPrior = {0.6, 0.6};
constexpr std::uint64_t kPlainStepEvery = 64;  // how old the time of a step without drafts may be
constexpr std::uint64_t kFirstProbe = 32, kLastProbe = 512;
constexpr std::size_t kProbeDrafts = 2;
constexpr std::uint64_t kWantedDrafts = 7;
constexpr std::size_t kFirstDrafts = 4;  // before it is known what one costs

std::size_t class_of(std::size_t length) {
  std::size_t c = 0;
  while (c + 1 < std::size(kLengths) && kLengths[c + 1].least <= length) c++;
  return c;
}

std::size_t most_drafts(const Model& model, const SpeculationOptions& options) {
  if (!options.any()) return 0;
  const std::uint64_t rows = std::min({kMostDrafts + 1, model.logit_rows(), model.rows_per_pass()});
  return static_cast<std::size_t>(std::max<std::uint64_t>(rows, 1) - 1);
}

}  // namespace

Lookup lookup_named(std::string_view name) {
  if (name == "auto") return Lookup::automatic;
  if (name == "on") return Lookup::always;
  if (name == "off") return Lookup::off;
  throw Error(ErrorKind::usage, "lookup", "\"" + std::string(name) + "\" is none", "auto, on or off");
}

void plan_for_speculation(LoadOptions& load, Lookup lookup, bool draft_model, std::uint64_t draft_tokens) {
  std::uint64_t drafts = 0;
  if (lookup == Lookup::always) drafts = kWantedDrafts;
  if (draft_model) drafts = std::max(drafts, draft_tokens > 0 ? std::min(draft_tokens, kMostDrafts) : kWantedDrafts);
  load.logit_rows = std::max(load.logit_rows, drafts + 1);
  if (lookup != Lookup::off || draft_model) load.draft_rows = kMostDrafts + 1 - std::min(kMostDrafts + 1, load.logit_rows);
}

Speculator::Speculator(const Model& model, const SpeculationOptions& options)
    : options_(options),
      limit_(model.token_limit()),
      most_drafts_(most_drafts(model, options)),
      costs_(most_drafts_ + 1),
      of_model_(kModelPrior),
      probe_after_(kFirstProbe) {
  for (const LengthClass& c : kLengths) {
    of_repeats_.emplace_back(DraftRates{c.of_repeats, kLaterPrior});
    of_copies_.emplace_back(DraftRates{c.of_copies, kLaterPrior});
  }
}

void Speculator::begin(std::span<const std::uint32_t> prompt, std::uint32_t task, std::size_t rows, double seconds) {
  costs_.prompt(rows, seconds);
  if (options_.draft_model) options_.draft_model->begin(prompt, task);
}

std::span<const std::uint32_t> Speculator::draft(std::span<const std::uint32_t> ids, std::uint64_t most, const std::stop_token& stop) {
  const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(most, most_drafts_));
  drafts_ = {};
  source_ = Source::none;
  look_back(ids);
  // The first step shows what one row takes; later one now and then keeps that known.
  if (most_drafts_ == 0 || costs_.of(1) == 0) return drafts_;
  const bool all_chosen = options_.lookup != Lookup::always && options_.draft_tokens == 0;
  if (all_chosen && plain_steps_ago_ >= kPlainStepEvery) return drafts_;

  const CopyEvidence evidence = options_.lookup == Lookup::off ? CopyEvidence() : follower_.look(ids);
  const DraftChoice by_lookup = evidence.any() ? choose_lookup(evidence, count) : DraftChoice();
  const DraftChoice by_model = options_.draft_model ? choose_model(count) : DraftChoice();
  if (by_lookup.drafts > 0 && (options_.lookup == Lookup::always || by_lookup.gain >= by_model.gain)) {
    source_ = Source::lookup;
    tried_ = &acceptance_of(evidence);
    drafts_ = std::span(buffer_).first(follower_.draft(ids, std::span(buffer_).first(by_lookup.drafts)));
    return drafts_;
  }
  if (evidence.any() && follower_.draft(ids, std::span(buffer_).first(1)) == 1)
    watched_ = {&acceptance_of(evidence), ids.size(), buffer_[0]};
  if (by_model.drafts > 0) ask_model(ids, by_model.drafts, stop);
  return drafts_;
}

void Speculator::look_back(std::span<const std::uint32_t> ids) {
  if (!watched_.counted_in || ids.size() <= watched_.at) return;
  const bool came = ids[watched_.at] == watched_.id;
  watched_.counted_in->saw(came, !came);
  watched_.counted_in = nullptr;
}

Acceptance& Speculator::acceptance_of(CopyEvidence evidence) {
  return (evidence.followed ? of_copies_ : of_repeats_)[class_of(evidence.length)];
}

DraftChoice Speculator::choose_lookup(CopyEvidence evidence, std::size_t most) {
  if (options_.lookup == Lookup::always) return {most, 1};
  return best_drafts(acceptance_of(evidence).rates(), costs_, most);
}

DraftChoice Speculator::choose_model(std::size_t most) {
  if (options_.draft_tokens > 0) {
    const std::size_t k = static_cast<std::size_t>(std::min<std::uint64_t>(options_.draft_tokens, most));
    const double seconds = costs_.of(k + 1) + static_cast<double>(k) * seconds_a_draft_;
    return {k, of_model_.rates().tokens(k) * costs_.of(1) / seconds};
  }
  const DraftChoice choice =
      best_drafts(of_model_.rates(), costs_, seconds_a_draft_ > 0 ? most : std::min(most, kFirstDrafts), seconds_a_draft_);
  if (choice.drafts > 0) {
    declined_ = 0;
    probe_after_ = kFirstProbe;
    return choice;
  }
  if (++declined_ < probe_after_) return choice;
  declined_ = 0;
  probe_after_ = std::min(2 * probe_after_, kLastProbe);
  return {std::min(kProbeDrafts, most), 1};
}

void Speculator::ask_model(std::span<const std::uint32_t> ids, std::size_t count, const std::stop_token& stop) {
  const auto start = Clock::now();
  const std::size_t drafted = options_.draft_model->draft(ids, limit_, std::span(buffer_).first(count), stop);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  drafts_ = std::span(buffer_).first(drafted);
  model_.seconds += seconds;
  if (drafted == 0) return;
  source_ = Source::model;
  // The first time it reads the prompt, too.
  if (std::exchange(model_has_prompt_, true)) {
    const double each = seconds / static_cast<double>(drafted);
    seconds_a_draft_ = seconds_a_draft_ == 0 ? each : 0.75 * seconds_a_draft_ + 0.25 * std::min(each, 2 * seconds_a_draft_);
  }
}

void Speculator::step_took(double seconds) {
  costs_.measured(drafts_.size() + 1, seconds);
  StepTime& time = times_[drafts_.size()];
  time.steps++;
  time.seconds += seconds;
  plain_steps_ago_ = drafts_.empty() ? 0 : plain_steps_ago_ + 1;
  steps_++;
  tokens_++;
}

void Speculator::verified(std::size_t accepted, bool wrong) {
  if (source_ == Source::none) return;
  DraftCount& count = source_ == Source::lookup ? lookup_ : model_;
  (source_ == Source::lookup ? *tried_ : of_model_).saw(accepted, wrong);
  (source_ == Source::lookup ? lookup_steps_ : model_steps_)[drafts_.size()]++;
  count.steps++;
  count.drafted += drafts_.size();
  count.accepted += accepted;
  count.rejections += wrong;
  tokens_ += accepted;
  source_ = Source::none;
}

SpeculationReport Speculator::report() const {
  SpeculationReport report{lookup_, model_, steps_, times_[0].mean(), 0, 0};
  for (const StepTime& time : times_)
    if (time.steps > 0) report.one_row_s = std::min(report.one_row_s, time.mean());  // few steps may have had one row; more never take less
  double tokens = 0, seconds = lookup_.seconds + model_.seconds;
  for (std::size_t k = 0; k <= kMostDrafts; k++) {
    const std::uint64_t plain = times_[k].steps - lookup_steps_[k] - model_steps_[k];
    tokens += static_cast<double>(lookup_steps_[k]) * expected_tokens(lookup_.acceptance(), k) +
              static_cast<double>(model_steps_[k]) * expected_tokens(model_.acceptance(), k) + static_cast<double>(plain);
    seconds += times_[k].seconds;
  }
  if (seconds > 0) {
    report.predicted_gain = tokens * report.one_row_s / seconds;
    report.measured_gain = static_cast<double>(tokens_) * report.one_row_s / seconds;
  }
  return report;
}

}  // namespace leafcutter::runtime
