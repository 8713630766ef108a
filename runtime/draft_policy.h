// How many tokens to draft: a step of k + 1 rows gives one token and as many of the k drafts as turn out right, in one pass over the weights. Worth it where the rows cost less than they bring.
#pragma once

#include <cstddef>
#include <vector>

namespace leafcutter::runtime {

// Tokens that a step with k drafts gives on average, when each is right with this probability, given that those before it are: 1 + a + a^2 + ... + a^k.
double expected_tokens(double acceptance, std::size_t drafts);

// How often drafts are right: the first of a step, and each further one, given that those before it are. What is copied tends to be right for long or at once wrong, so that the first says little of the others.
struct DraftRates {
  double first = 0, later = 0;
  double tokens(std::size_t drafts) const { return drafts == 0 ? 1 : 1 + first * expected_tokens(later, drafts - 1); }
};

// Of drafts of one kind, of those seen lately.
class Acceptance {
 public:
  explicit Acceptance(DraftRates prior);
  // Drafts were right until one was wrong, or all were.
  void saw(std::size_t right, bool wrong);
  DraftRates rates() const { return {first_.rate(), later_.rate()}; }

 private:
  struct Count {  // fades
    double right, wrong;
    double rate() const { return right / (right + wrong); }
    void saw(double right_more, double wrong_more);
  };
  Count first_, later_;
};

// What a step of so many rows takes, from those lately run. What was not measured lies between what was.
class StepCosts {
 public:
  explicit StepCosts(std::size_t most_rows) : seconds_(most_rows + 1) {}

  void measured(std::size_t rows, double seconds);
  // A prompt was read: an upper bound for what a row more costs, where it was long enough to say anything.
  void prompt(std::size_t rows, double seconds);
  double of(std::size_t rows) const;  // 0: no step was measured yet
  std::size_t most_rows() const { return seconds_.size() - 1; }

 private:
  std::vector<double> seconds_;  // by rows; 0: not measured
  double prompt_row_ = 0;        // 0: not known
};

struct DraftChoice {
  std::size_t drafts = 0;
  double gain = 1;  // expected tokens a second, of those without drafts
};

// The number of drafts, at most `most`, that gives most tokens a second, if it gives noticeably more than none. `seconds_a_draft`: what it takes to make one.
DraftChoice best_drafts(DraftRates rates, const StepCosts& costs, std::size_t most, double seconds_a_draft = 0);

}  // namespace leafcutter::runtime
