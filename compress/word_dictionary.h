// jieba's dictionary and hidden Markov model as data: what CPM-Ant's tokenizer cuts Chinese text with. Stored in the .leaf's tokenizer section (docs/format.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace leafcutter::compress {

// States of a character in a word that the dictionary does not have: it begins it, lies within, ends it, is it alone. Rows and columns of the tables are in this order.
constexpr std::size_t kWordStates = 4;
enum WordState : std::uint8_t { kBegin = 0, kMiddle = 1, kEnd = 2, kSingle = 3 };
using StateScores = std::array<double, kWordStates>;  // natural logarithms of probabilities

// What jieba takes for the logarithm of a probability that its tables do not have.
constexpr double kNoScore = -3.14e100;

// The characters that the model knows about.
constexpr std::uint16_t kFirstHan = 0x4e00, kLastHan = 0x9fd5;

struct WordDictionary {
  std::uint64_t total = 0;                 // of the frequencies as jieba adds them up: a word that comes twice counts twice
  std::string words;                       // UTF-8, one behind the other, ascending by bytes, none twice
  std::vector<std::uint8_t> lengths;       // of each word in bytes, at least 1
  std::vector<std::uint32_t> frequencies;  // of each word, at least 1
  StateScores start{};
  std::array<StateScores, kWordStates> transitions{};  // from, to
  std::vector<std::uint16_t> characters;               // kFirstHan..kLastHan, ascending
  std::vector<StateScores> emissions;                  // of each character in each state

  bool operator==(const WordDictionary&) const = default;
};

struct WordDictionaryLimits {
  static constexpr std::size_t kWords = 1u << 20;  // jieba 0.42.1 has 349045
  static constexpr std::size_t kWordBytes = 255;   // jieba 0.42.1: 48
  static constexpr std::uint64_t kTotal = std::uint64_t{1} << 53;
};

}  // namespace leafcutter::compress
