// Cuts text into the pieces within which tokens are merged: expressions applied one after another, each to the pieces of the one before. Rules of kind metaspace change
// text and are not for this.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::runtime {

// Immutable, thread-safe. Expressions run in PCRE2 with limits for steps, depth and memory.
class TextSplitter {
 public:
  // Throws Error(unsupported) naming `file` when an expression does not compile.
  TextSplitter(std::span<const compress::SplitRule> rules, const std::string& file);
  ~TextSplitter();

  // text is well-formed UTF-8. The pieces cover it in order, without gaps unless a rule removes its matches. Throws Error(unsupported) when a limit is hit.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Expression;
  std::vector<Expression> expressions_;
};

}  // namespace leafcutter::runtime
