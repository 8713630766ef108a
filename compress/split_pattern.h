// The expression of a SplitRule, compiled by PCRE2: importers ask whether it compiles, the tokenizer cuts with it.
#pragma once

#include <memory>
#include <string>

#include "compress/tokenizer_data.h"

struct pcre2_real_code_8;

namespace leafcutter::compress {

struct SplitPattern {
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code;  // null: it does not compile
  std::string problem;                            // then: "expression (a does not compile at 2: missing closing parenthesis", printable
};

// Of a rule of kind expression or digits.
SplitPattern compile_split(const SplitRule& rule);

}  // namespace leafcutter::compress
