#include "runtime/token_table.h"

#include <bit>

namespace leafcutter::runtime {

TokenTable::TokenTable(std::size_t tokens, std::size_t bytes) {
  offsets_.reserve(tokens + 1);
  bytes_.reserve(bytes);
  offsets_.push_back(0);
}

TokenTable::TokenTable(std::span<const std::string> tokens) {
  std::size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  *this = TokenTable(tokens.size(), bytes);
  for (const std::string& token : tokens) add(token);
  index();
}

void TokenTable::add(std::string_view text) {
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  offsets_.push_back(static_cast<std::uint32_t>(bytes_.size()));
}

void TokenTable::index() {
  slots_.assign(std::bit_ceil(size() + size() / 4 + 2), 0);
  for (std::uint32_t id = 0; id < size(); id++) {
    std::size_t at = hash(text(id)) & (slots_.size() - 1);
    while (slots_[at] != 0 && text(slots_[at] - 1) != text(id)) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at] == 0) slots_[at] = id + 1;
  }
}

std::optional<std::uint32_t> TokenTable::find(std::string_view wanted) const {
  for (std::size_t at = hash(wanted) & (slots_.size() - 1); slots_[at] != 0; at = (at + 1) & (slots_.size() - 1))
    if (text(slots_[at] - 1) == wanted) return slots_[at] - 1;
  return std::nullopt;
}

std::size_t TokenTable::memory_bytes() const {
  return bytes_.capacity() + (offsets_.capacity() + slots_.capacity()) * sizeof(std::uint32_t);
}

// FNV-1a, 64 bits folded; texts are short.
std::size_t TokenTable::hash(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : text) h = (h ^ static_cast<std::uint8_t>(c)) * 0x100000001b3ull;
  return static_cast<std::size_t>(h ^ h >> 29);
}

}  // namespace leafcutter::runtime
