// Merges of a byte-pair vocabulary, given as pairs of texts in order of rank, as triples of ids.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

class MergeBuilder {
 public:
  // `tokens` must outlive this object and not change.
  MergeBuilder(const std::vector<std::string>& tokens, std::string file);

  // Throws Error(bad_file) when one of the two or their concatenation is no token, or there are too many.
  void add(std::string_view left, std::string_view right);
  std::size_t size() const { return merges_.size(); }
  std::vector<Merge> take() { return std::move(merges_); }

 private:
  std::uint32_t id_of(std::string_view token) const;

  std::string file_;
  const std::vector<std::string>& tokens_;
  std::vector<std::uint32_t> slots_;  // id + 1 by the hash of its text; 0: empty. A fifth of what a map takes: Gemma has 256,000 tokens
  std::vector<Merge> merges_;
  std::string both_;
};

}  // namespace leafcutter::compress
