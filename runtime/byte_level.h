// GPT-2's printable stand-ins for bytes: how byte-level vocabularies spell tokens (Radford et al. 2019).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace leafcutter::runtime {

// The bytes that a token's spelling stands for; none when it has a character that stands for no byte (special tokens).
std::optional<std::string> bytes_of_spelling(std::string_view spelling);

// The character, as UTF-8, that stands for a byte.
std::string spelling_of_byte(std::uint8_t byte);

}  // namespace leafcutter::runtime
