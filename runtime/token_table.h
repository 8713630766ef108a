// Token texts by id and ids by text, in three flat arrays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace leafcutter::runtime {

// Immutable after the last add. Thread-safe then.
class TokenTable {
 public:
  TokenTable(std::size_t tokens, std::size_t bytes);

  explicit TokenTable(std::span<const std::string> tokens);  // these, indexed

  void add(std::string_view text);  // the next id
  void index();                     // after the last add: makes find work; of equal texts the first id counts

  std::size_t size() const { return offsets_.size() - 1; }
  std::string_view text(std::uint32_t id) const { return std::string_view(bytes_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]); }
  std::optional<std::uint32_t> find(std::string_view text) const;
  std::size_t memory_bytes() const;

 private:
  static std::size_t hash(std::string_view text);

  std::vector<char> bytes_;
  std::vector<std::uint32_t> offsets_;
  std::vector<std::uint32_t> slots_;  // id + 1; 0: empty
};

}  // namespace leafcutter::runtime
