// A PTX text as words, numbers and punctuation, each with its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace leafcutter::ptx {

struct Token {
  enum class Kind { word, number, text, mark, end } kind = Kind::end;
  std::string text;  // word: with its dots (ld.param.u64, %tid.x, .reg); mark: one character
  int line = 0;
  bool is(std::string_view what) const { return kind != Kind::text && text == what; }
};

// Comments are left out. The last token is of kind end. Throws Error for characters PTX does not have and for strings and comments without end.
std::vector<Token> tokens_of(std::string_view text);

}  // namespace leafcutter::ptx
