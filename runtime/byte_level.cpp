#include "runtime/byte_level.h"

#include <array>

#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

// Bytes that are printable characters of Latin-1 stand for themselves, the others, in order, for U+0100 and on.
constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

struct Tables {
  std::array<std::uint16_t, 256> character_of{};
  std::array<std::int16_t, 512> byte_of{};
};

constexpr Tables kTables = [] {
  Tables tables;
  for (auto& byte : tables.byte_of) byte = -1;
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; byte++) {
    const std::uint16_t character = stands_for_itself(byte) ? static_cast<std::uint16_t>(byte) : next++;
    tables.character_of[static_cast<std::size_t>(byte)] = character;
    tables.byte_of[character] = static_cast<std::int16_t>(byte);
  }
  return tables;
}();

}  // namespace

std::optional<std::string> bytes_of_spelling(std::string_view spelling) {
  std::string bytes;
  while (!spelling.empty()) {
    const Utf8Step step = next_character(spelling);
    if (step.kind != Utf8Step::Kind::whole || step.bytes > 2) return std::nullopt;
    const auto lead = static_cast<std::uint8_t>(spelling[0]);
    const std::size_t character = step.bytes == 1 ? lead : (lead & 0x1fu) << 6 | (static_cast<std::uint8_t>(spelling[1]) & 0x3fu);
    if (character >= kTables.byte_of.size() || kTables.byte_of[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kTables.byte_of[character]);
    spelling.remove_prefix(step.bytes);
  }
  return bytes;
}

std::string spelling_of_byte(std::uint8_t byte) {
  const std::uint16_t c = kTables.character_of[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

}  // namespace leafcutter::runtime
