#include "compress/merge_builder.h"

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {

MergeBuilder::MergeBuilder(const std::vector<std::string>& tokens, std::string file) : file_(std::move(file)) {
  ids_.reserve(tokens.size());
  for (std::uint32_t id = 0; id < tokens.size(); id++) ids_.emplace(tokens[id], id);
}

void MergeBuilder::add(std::string_view left, std::string_view right) {
  if (merges_.size() == TokenizerLimits::kMerges)
    throw Error(ErrorKind::bad_file, file_ + ", merges", "more than " + std::to_string(TokenizerLimits::kMerges));
  both_.assign(left).append(right);
  merges_.push_back({id_of(left), id_of(right), id_of(both_)});
}

std::uint32_t MergeBuilder::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end())
    throw Error(ErrorKind::bad_file, file_ + ", merges",
                "merge " + std::to_string(merges_.size()) + " names \"" + printable_text(token, 40) + "\", which is no token");
  return found->second;
}

}  // namespace leafcutter::compress
