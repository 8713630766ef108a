// Merges and splitting rules in a tokenizer section: what the kinds of byte-pair encoding share.
#pragma once

#include "compress/tokenizer_section.h"

namespace leafcutter::compress {

// Limits, ids, kinds of rules and their bits.
void check_merges_and_splits(const SectionChecker& checker);
void count_merges_and_splits(const TokenizerData& data, SectionHeader& header);
void write_merges_and_splits(const TokenizerData& data, SectionWriter& out);
void read_merges_and_splits(SectionReader& in, const SectionHeader& header, TokenizerData& data);

}  // namespace leafcutter::compress
