// Byte-level BPE in a .leaf: merges and the rules that cut text.
#include "compress/bpe_parts.h"

namespace leafcutter::compress {
namespace {

enum Flag : std::uint8_t { kAddPrefixSpace = 2, kIgnoreMerges = 4 };

void fill(const TokenizerData& data, SectionHeader& h) {
  h.flags = static_cast<std::uint8_t>(h.flags | (data.add_prefix_space ? kAddPrefixSpace : 0) | (data.ignore_merges ? kIgnoreMerges : 0));
  count_merges_and_splits(data, h);
}

void read(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  data.add_prefix_space = (h.flags & kAddPrefixSpace) != 0;
  data.ignore_merges = (h.flags & kIgnoreMerges) != 0;
  read_merges_and_splits(in, h, data);
}

}  // namespace

const KindSection kByteLevelSection = {
    TokenizerKind::byte_level_bpe, kAddPrefixSpace | kIgnoreMerges, check_merges_and_splits, fill, write_merges_and_splits, read};

}  // namespace leafcutter::compress
