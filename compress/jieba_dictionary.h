// The files of an installed jieba to a word dictionary. They are Python source and text, read as data: nothing is executed, and what is not a plain table is refused.
// Text in, facts out; no I/O.
#pragma once

#include <string_view>

#include "compress/word_dictionary.h"

namespace leafcutter::compress {

constexpr std::size_t kJiebaFileBytes = 16u << 20;  // jieba 0.42.1: dict.txt has 5 MB, the largest table 1.3 MB

struct JiebaFiles {
  std::string_view words;        // dict.txt: "word frequency tag" a line
  std::string_view start;        // finalseg/prob_start.py: P={state: number}
  std::string_view transitions;  // finalseg/prob_trans.py: P={state: {state: number}}
  std::string_view emissions;    // finalseg/prob_emit.py: P={state: {character: number}}
};

// As jieba understands them: of words that come twice the last counts, but the total has both; missing transitions and emissions are kNoScore.
// Words with the frequency 0 and emissions of characters that jieba never looks up are left out. Throws Error(bad_file) naming the file in `folder` and the line.
WordDictionary parse_jieba(const JiebaFiles& files, const std::string& folder);

}  // namespace leafcutter::compress
