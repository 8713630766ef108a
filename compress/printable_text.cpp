#include "compress/printable_text.h"

#include <cstdint>

namespace leafcutter::compress {
namespace {

struct Character {
  std::uint32_t code;
  std::size_t bytes;  // 0: not well-formed
};

// The character at the front of a text that is not empty.
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {0, 0};
  std::uint32_t code = lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; i++) {
    if ((byte(i) & 0xc0) != 0x80) return {0, 0};
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < kSmallest[bytes] || surrogate || code > 0x10ffff) return {0, 0};
  return {code, bytes};
}

bool is_control(std::uint32_t code) { return code < 0x20 || (code >= 0x7f && code < 0xa0); }

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character c = first_character(text);
    if (c.bytes == 0) return false;
    text.remove_prefix(c.bytes);
  }
  return true;
}

bool is_printable_text(std::string_view text) {
  while (!text.empty()) {
    const Character c = first_character(text);
    if (c.bytes == 0 || is_control(c.code)) return false;
    text.remove_prefix(c.bytes);
  }
  return true;
}

std::string printable_text(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    const Character c = first_character(text);
    const bool good = c.bytes > 0 && !is_control(c.code);
    const std::string_view piece = good ? text.substr(0, c.bytes) : std::string_view("?");
    if (out.size() + piece.size() > limit) break;
    out += piece;
    text.remove_prefix(c.bytes > 0 ? c.bytes : 1);
  }
  return out;
}

}  // namespace leafcutter::compress
