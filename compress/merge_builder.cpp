#include "compress/merge_builder.h"

#include <bit>
#include <functional>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {

MergeBuilder::MergeBuilder(const std::vector<std::string>& tokens, std::string file)
    : file_(std::move(file)), tokens_(tokens), slots_(std::bit_ceil(tokens.size() + tokens.size() / 4 + 2)) {
  for (std::uint32_t id = 0; id < tokens.size(); id++) {
    std::size_t at = std::hash<std::string_view>{}(tokens[id]) & (slots_.size() - 1);
    while (slots_[at] != 0 && tokens[slots_[at] - 1] != tokens[id]) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at] == 0) slots_[at] = id + 1;  // of equal texts the first counts
  }
}

void MergeBuilder::add(std::string_view left, std::string_view right) {
  if (merges_.size() == TokenizerLimits::kMerges)
    throw Error(ErrorKind::bad_file, file_ + ", merges", "more than " + std::to_string(TokenizerLimits::kMerges));
  both_.assign(left).append(right);
  merges_.push_back({id_of(left), id_of(right), id_of(both_)});
}

std::uint32_t MergeBuilder::id_of(std::string_view token) const {
  for (std::size_t at = std::hash<std::string_view>{}(token) & (slots_.size() - 1); slots_[at] != 0; at = (at + 1) & (slots_.size() - 1))
    if (tokens_[slots_[at] - 1] == token) return slots_[at] - 1;
  throw Error(ErrorKind::bad_file, file_ + ", merges",
              "merge " + std::to_string(merges_.size()) + " names \"" + printable_text(token, 40) + "\", which is no token");
}

}  // namespace leafcutter::compress
