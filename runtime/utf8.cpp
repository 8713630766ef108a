#include "runtime/utf8.h"

#include <cstdint>

namespace leafcutter::runtime {

Utf8Step next_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {Utf8Step::Kind::whole, 1};
  std::size_t length;
  std::uint8_t low = 0x80, high = 0xbf;  // allowed second byte
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {Utf8Step::Kind::broken, 1};
  }
  for (std::size_t i = 1; i < length; i++) {
    if (i == text.size()) return {Utf8Step::Kind::incomplete, i};
    if (byte(i) < low || byte(i) > high) return {Utf8Step::Kind::broken, i};
    low = 0x80;
    high = 0xbf;
  }
  return {Utf8Step::Kind::whole, length};
}

bool is_white_space(std::string_view character) {
  constexpr std::string_view kWide[] = {"\u0085", "\u00a0", "\u1680", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};
  if (character.size() == 1) return character[0] == ' ' || (character[0] >= '\t' && character[0] <= '\r');
  for (const std::string_view wide : kWide)
    if (character == wide) return true;
  return character >= "\u2000" && character <= "\u200a" && character.size() == 3;
}

}  // namespace leafcutter::runtime
