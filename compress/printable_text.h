// Text from outside that people will see in a terminal or that goes into JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace leafcutter::compress {

// Well-formed UTF-8 (no overlong forms, no surrogates, nothing past U+10FFFF)?
bool is_utf8(std::string_view text);

// UTF-8 without control characters (below U+0020, U+007F to U+009F), so that no terminal takes it for commands?
bool is_printable_text(std::string_view text);

// The same text made printable: what is not becomes '?', and it is cut at a character so that it has at most `limit` bytes. For names that importers take from checkpoints.
std::string printable_text(std::string_view text, std::size_t limit);

}  // namespace leafcutter::compress
