#define PCRE2_CODE_UNIT_WIDTH 8
#include "compress/split_pattern.h"

#include <pcre2.h>

#include "compress/printable_text.h"

namespace leafcutter::compress {

void SplitPattern::Free::operator()(pcre2_real_code_8* compiled) const { pcre2_code_free(compiled); }

SplitPattern compile_split(const SplitRule& rule) {
  const std::string text = rule.kind == SplitRule::Kind::digits ? "\\p{N}" : rule.expression;
  int problem = 0;
  PCRE2_SIZE place = 0;
  SplitPattern pattern;
  pattern.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                   &problem, &place, nullptr));
  if (!pattern.code) {
    PCRE2_UCHAR message[200] = {};
    pcre2_get_error_message(problem, message, sizeof message);
    pattern.problem = "expression " + printable_text(text, 80) + " does not compile at " + std::to_string(place) + ": " +
                      reinterpret_cast<const char*>(message);
  }
  return pattern;
}

}  // namespace leafcutter::compress
