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

// Is this one character white space (Unicode's property White_Space)?
bool is_white_space(std::string_view character);

}  // namespace leafcutter::runtime
