// UTF-8 character by character (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace leafcutter::runtime {

struct Utf8Step {
  enum class Kind { whole, incomplete, broken } kind;
  std::size_t bytes;  // of the character, or of the broken part that no character can begin with
};

// text is not empty. incomplete: more bytes could make it whole.
Utf8Step next_character(std::string_view text);

// Calls run for the runs of whole characters of a text and broken for each part between them that no character can begin with, in order.
template <class Run, class Broken>
void for_each_run(std::string_view text, Run&& run, Broken&& broken) {
  std::size_t begin = 0, at = 0;
  const auto end_run = [&] {
    if (at > begin) run(text.substr(begin, at - begin));
  };
  while (at < text.size()) {
    const Utf8Step step = next_character(text.substr(at));
    if (step.kind != Utf8Step::Kind::whole) {
      end_run();
      broken(text.substr(at, step.bytes));
      begin = at + step.bytes;
    }
    at += step.bytes;
  }
  end_run();
}

// Is this one character white space (Unicode's property White_Space)?
bool is_white_space(std::string_view character);

}  // namespace leafcutter::runtime
