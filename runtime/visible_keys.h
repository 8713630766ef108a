// How many keys of its sequence a row of a pass sees: a context row all context rows of the pass, any other row what lies before it and itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model.h"

namespace leafcutter::runtime {

class VisibleKeys {
 public:
  // A pass of these rows begins.
  void count(std::span<const StepRow> rows) {
    for (const StepRow& row : rows) {
      if (row.sequence >= context_end_.size()) context_end_.resize(row.sequence + 1);
      if (row.context) context_end_[row.sequence] = row.position + 1;
    }
  }
  std::uint64_t of(const StepRow& row) const { return row.context ? context_end_[row.sequence] : row.position + 1; }

 private:
  std::vector<std::uint64_t> context_end_;  // of each sequence: behind its last context row of this pass
};

}  // namespace leafcutter::runtime
