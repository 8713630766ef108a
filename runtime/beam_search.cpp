#include "runtime/beam_search.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "runtime/answer.h"
#include "runtime/prompt_rows.h"

namespace leafcutter::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr std::uint32_t kRoot = ~std::uint32_t{0};

// A token of some beam and the one before it: beams that went different ways share their beginnings.
struct Node {
  std::uint32_t parent = kRoot;
  GeneratedToken token;
};

struct Candidate {
  float score = 0;  // of the whole beam
  std::uint32_t beam = 0, id = 0;
};

struct Hypothesis {
  double score = 0;  // a token
  std::uint32_t node = kRoot;
  std::optional<GeneratedToken> end;
};

class Search {
 public:
  Search(Model& model, std::span<const std::uint32_t> prompt, const BeamOptions& options)
      : model_(model),
        prompt_(prompt),
        o_(options),
        live_(options.preset == Preset::cpm_live),
        vocabulary_(model.index().model.vocab_size) {
    if (prompt.empty()) throw Error(ErrorKind::usage, "prompt", "it is empty", "give at least one token");
    if (o_.beams == 0 || 2 * std::uint64_t{o_.beams} >= model.token_limit())
      throw Error(ErrorKind::usage, "--beams " + std::to_string(o_.beams),
                  "the vocabulary has " + std::to_string(model.token_limit()) + " ids");
    beams_.assign(1, {0.0f, kRoot});
    logits_.resize(o_.beams * vocabulary_);
  }

  GenerationResult run(const std::function<void(const GeneratedToken&)>& on_token, const std::stop_token& stop) {
    GenerationResult result;
    const auto start = Clock::now();
    for (std::uint32_t s = 0; s < model_.sequences(); s++) model_.truncate(s, 0);
    model_.step(prompt_rows(model_, prompt_, o_.task), logits_, stop);
    result.prefill_seconds = seconds_since(start);
    const auto decode_start = Clock::now();
    // The step behind the last token of CPM-Live's longest answer only closes hypotheses.
    const std::uint64_t last = live_ ? o_.max_tokens + 1 : o_.max_tokens - 1;
    for (std::uint64_t i = 0; !advance(i, last); i++) feed(stop);
    result.decode_seconds = seconds_since(decode_start);
    give(result, on_token);
    return result;
  }

 private:
  struct Beam {
    float score;
    std::uint32_t node;
  };

  std::vector<std::uint32_t> ids_of(std::uint32_t node) const {
    std::vector<std::uint32_t> ids;
    for (; node != kRoot; node = nodes_[node].parent) ids.push_back(nodes_[node].token.id);
    std::reverse(ids.begin(), ids.end());
    return ids;
  }

  std::span<const float> logits(std::size_t beam) const { return std::span(logits_).subspan(beam * vocabulary_, vocabulary_); }

  void penalise(std::span<float> values, std::uint32_t node) const {
    if (o_.repetition_penalty == 1) return;
    std::vector<std::uint32_t> seen = ids_of(node);
    if (!live_) seen.insert(seen.begin(), prompt_.begin(), prompt_.end());
    if (o_.repetition_window > 0 && seen.size() > o_.repetition_window) seen.erase(seen.begin(), seen.end() - o_.repetition_window);
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const std::uint32_t id : seen)
      if (id < values.size()) values[id] = values[id] < 0 ? values[id] * o_.repetition_penalty : values[id] / o_.repetition_penalty;
  }

  static void log_softmax(std::span<float> values) {
    const double sum = kernels::log_sum_exp(values);
    for (float& value : values) value = static_cast<float>(value - sum);
  }

  // What each next token would add to a beam's score.
  void weigh(std::size_t beam, bool first) {
    const std::span<const float> raw = logits(beam).first(model_.token_limit());
    values_.assign(raw.begin(), raw.end());
    if (live_) {
      if (first)
        for (const std::uint32_t id : never_first(model_))
          if (id < values_.size()) values_[id] = -INFINITY;
      penalise(values_, beams_[beam].node);
      log_softmax(values_);
    } else {
      log_softmax(values_);
      penalise(values_, beams_[beam].node);
    }
  }

  // The best 2 * beams of all beams together, best first.
  std::vector<Candidate> candidates(bool first) {
    std::vector<Candidate> all;
    std::vector<kernels::Ranked> best(2 * o_.beams);
    for (std::uint32_t b = 0; b < beams_.size(); b++) {
      weigh(b, first);
      for (float& value : values_) value += beams_[b].score;
      const std::size_t found = kernels::top_k(values_, best);
      for (std::size_t i = 0; i < found; i++) all.push_back({best[i].value, b, best[i].index});
    }
    std::stable_sort(all.begin(), all.end(), [](const Candidate& x, const Candidate& y) { return x.score > y.score; });
    all.resize(std::min<std::size_t>(all.size(), 2 * o_.beams));
    return all;
  }

  GeneratedToken token_of(const Candidate& c) const {
    GeneratedToken token;
    token.id = c.id;
    if (o_.logprobs > 0) add_logprobs(token, logits(c.beam), o_.logprobs);
    return token;
  }

  void add_hypothesis(Hypothesis hypothesis) {
    if (hypotheses_.size() == o_.beams && hypothesis.score <= hypotheses_.back().score) return;
    const auto at = std::upper_bound(hypotheses_.begin(), hypotheses_.end(), hypothesis,
                                     [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
    hypotheses_.insert(at, std::move(hypothesis));
    if (hypotheses_.size() > o_.beams) hypotheses_.pop_back();
  }

  bool cannot_improve(float best, std::uint64_t length) const {
    return hypotheses_.size() == o_.beams && length > 0 && hypotheses_.back().score >= double{best} / static_cast<double>(length);
  }

  // One round of choosing, i tokens having been generated. True: the search is over.
  bool advance(std::uint64_t i, std::uint64_t last) {
    const std::vector<Candidate> best = candidates(i == 0);
    if (live_ && cannot_improve(best.front().score, i)) return true;
    std::vector<Beam> next;
    parents_.clear();
    for (std::size_t rank = 0; rank < best.size() && next.size() < o_.beams; rank++) {
      const Candidate& c = best[rank];
      const bool end = !o_.ignore_end && ends(model_, c.id);
      const std::uint32_t before = beams_[c.beam].node;
      if (live_ && (end || i == last)) {
        if (i > 0) add_hypothesis({c.score / static_cast<double>(i), before, end ? std::optional(token_of(c)) : std::nullopt});
      } else if (end || (!live_ && i == last)) {
        if (rank >= o_.beams) continue;
        const double score = c.score / static_cast<double>(i + 1);
        add_hypothesis(end ? Hypothesis{score, before, token_of(c)} : Hypothesis{score, grow(before, c), std::nullopt});
      } else {
        next.push_back({c.score, grow(before, c)});
        parents_.push_back(c.beam);
      }
    }
    if (next.empty()) return true;
    beams_ = std::move(next);
    return !live_ && cannot_improve(beams_.front().score, i + 1);
  }

  std::uint32_t grow(std::uint32_t node, const Candidate& c) {
    nodes_.push_back({node, token_of(c)});
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  }

  // The beams' last tokens as rows of one step.
  void feed(const std::stop_token& stop) {
    model_.fork(parents_);
    std::vector<StepRow> rows;
    for (std::uint32_t b = 0; b < beams_.size(); b++)
      rows.push_back(text_row(model_, nodes_[beams_[b].node].token.id, model_.cached_positions(b), b, true));
    model_.step(rows, logits_, stop);
  }

  void give(GenerationResult& result, const std::function<void(const GeneratedToken&)>& on_token) {
    std::vector<GeneratedToken> tokens;
    result.finish_reason = "length";
    if (!hypotheses_.empty()) {
      const Hypothesis& best = hypotheses_.front();
      for (std::uint32_t node = best.node; node != kRoot; node = nodes_[node].parent) tokens.push_back(nodes_[node].token);
      std::reverse(tokens.begin(), tokens.end());
      if (best.end) tokens.push_back(*best.end);
      if (best.end) result.finish_reason = "stop";
    }
    TextStream text(model_.tokenizer(), {});
    for (std::size_t i = 0; i < tokens.size(); i++) {
      GeneratedToken& token = tokens[i];
      token.index = i;
      const bool end = i + 1 == tokens.size() && result.finish_reason == "stop";
      if (!end) token.text = text.push(token.id);
      if (i + 1 == tokens.size()) token.text += text.flush();
      result.ids.push_back(token.id);
      result.text += token.text;
      if (on_token) on_token(token);
    }
  }

  Model& model_;
  const std::span<const std::uint32_t> prompt_;
  const BeamOptions& o_;
  const bool live_;
  const std::size_t vocabulary_;
  std::vector<Beam> beams_;
  std::vector<std::uint32_t> parents_;  // of the beams, among those of the step before
  std::vector<Node> nodes_;
  std::vector<Hypothesis> hypotheses_;  // at most as many as beams, best first; of equal ones the first found
  std::vector<float> logits_, values_;
};

}  // namespace

void plan_for_beams(LoadOptions& load, const BeamOptions& options, std::uint64_t positions) {
  load.sequences = load.logit_rows = options.beams;
  load.needed_positions = positions + options.max_tokens;
  load.prompt_positions = positions;
  load.forked_positions = options.beams * (options.max_tokens + 1);
}

GenerationResult beam_search(Model& model, std::span<const std::uint32_t> prompt, const BeamOptions& options,
                             const std::function<void(const GeneratedToken&)>& on_token, std::stop_token stop) {
  return Search(model, prompt, options).run(on_token, stop);
}

}  // namespace leafcutter::runtime
