// Cuts Chinese text into words as jieba 0.42.1 does (its default mode with the hidden Markov model), to the same words: sums of logarithms are formed in the same order, in
// double, and ties go the same way.
//
// Runs of the characters that words of the dictionary are made of are cut; all other characters are words alone (CR LF is one). In a run the dictionary's words make a
// graph, and their frequencies choose the best path. What it leaves as single characters beside each other is cut once more by the hidden Markov model.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/word_dictionary.h"
#include "runtime/prefix_table.h"

namespace leafcutter::runtime {

// Immutable, thread-safe. Shares the dictionary and holds some 1.5 MB beside it.
class JiebaSegmenter {
 public:
  using Word = std::function<void(std::string_view)>;

  // Throws Error(bad_file) naming `file` when counts and lengths of the dictionary contradict each other.
  JiebaSegmenter(std::shared_ptr<const compress::WordDictionary> dictionary, const std::string& file);

  // text: well-formed UTF-8. Calls word for each word, in order; together they are the text. Needs 17 bytes for each character of the longest run.
  void cut(std::string_view text, const Word& word) const;

  std::size_t memory_bytes() const;  // the dictionary included

 private:
  struct Run;  // characters of one run, and the best path through its graph

  void find_path(Run& run) const;
  void cut_run(Run& run, const Word& word) const;
  void cut_singles(const Run& run, std::size_t begin, std::size_t end, const Word& word) const;
  void cut_han(const Run& run, std::size_t begin, std::size_t end, const Word& word) const;
  const compress::StateScores& emission(std::string_view character) const;

  std::shared_ptr<const compress::WordDictionary> dictionary_;
  PrefixTable table_;
  double log_total_;
  std::vector<std::uint16_t> emission_rows_;  // of each Han character: row + 1; 0: none
};

}  // namespace leafcutter::runtime
