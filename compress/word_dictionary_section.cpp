// The tokenizer of CPM-Ant in a .leaf: words with frequencies, and the model of words that are not among them.
#include <algorithm>
#include <cmath>

#include "compress/printable_text.h"
#include "compress/tokenizer_section.h"
#include "compress/word_dictionary.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kScoreBytes = sizeof(double);

void check_words(const SectionChecker& checker, const WordDictionary& dictionary) {
  const std::size_t words = dictionary.lengths.size();
  checker.limit("words, count", words, WordDictionaryLimits::kWords);
  if (dictionary.frequencies.size() != words) checker.refuse("frequencies, count", "differs from that of the words");
  std::string_view text = dictionary.words, before;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < words; i++) {
    const std::size_t length = dictionary.lengths[i];
    if (length == 0 || length > text.size()) checker.refuse("word " + std::to_string(i), "is empty or longer than what is left");
    const std::string_view word = text.substr(0, length);
    text.remove_prefix(length);
    if (word <= before) checker.refuse("word " + std::to_string(i), "does not come after the one before");
    if (!is_utf8(word)) checker.refuse("word " + std::to_string(i), "is no UTF-8");
    if (dictionary.frequencies[i] == 0) checker.refuse("word " + std::to_string(i), "has the frequency 0");
    sum += dictionary.frequencies[i];
    before = word;
  }
  if (!text.empty()) checker.refuse("words", std::to_string(text.size()) + " bytes belong to no word");
  if (dictionary.total == 0 || dictionary.total < sum || dictionary.total > WordDictionaryLimits::kTotal)
    checker.refuse("total", "is " + std::to_string(dictionary.total) + ", the frequencies make " + std::to_string(sum));
}

// Nothing above 0: sums of such numbers may become -infinity, but never NaN.
void check_scores(const SectionChecker& checker, const std::string& field, const StateScores& scores) {
  for (double score : scores)
    if (!std::isfinite(score) || score > 0) checker.refuse(field, "is no logarithm of a probability");
}

void check(const SectionChecker& checker) {
  if (!checker.data.dictionary) checker.refuse("dictionary", "is missing");
  const WordDictionary& dictionary = *checker.data.dictionary;
  check_words(checker, dictionary);
  check_scores(checker, "start", dictionary.start);
  for (const StateScores& from : dictionary.transitions) check_scores(checker, "transitions", from);
  if (dictionary.emissions.size() != dictionary.characters.size())
    checker.refuse("emissions, count", "differs from that of the characters");
  for (std::size_t i = 0; i < dictionary.characters.size(); i++) {
    const std::uint16_t character = dictionary.characters[i];
    if (character < kFirstHan || character > kLastHan || (i > 0 && character <= dictionary.characters[i - 1]))
      checker.refuse("character " + std::to_string(i), "is " + std::to_string(character) + ", out of order or of range");
    check_scores(checker, "emissions of character " + std::to_string(i), dictionary.emissions[i]);
  }
}

void fill(const TokenizerData&, SectionHeader&) {}

void write_scores(SectionWriter& out, const StateScores& scores) {
  for (double score : scores) out.number(score);
}

void write(const TokenizerData& data, SectionWriter& out) {
  const WordDictionary& dictionary = *data.dictionary;
  out.number(static_cast<std::uint32_t>(dictionary.lengths.size()));
  out.number(static_cast<std::uint32_t>(dictionary.words.size()));
  out.number(static_cast<std::uint32_t>(dictionary.characters.size()));
  out.zeros(4);
  out.number(dictionary.total);
  write_scores(out, dictionary.start);
  for (const StateScores& from : dictionary.transitions) write_scores(out, from);
  for (std::uint8_t length : dictionary.lengths) out.number(length);
  for (std::uint32_t frequency : dictionary.frequencies) out.number(frequency);
  out.text(dictionary.words);
  for (std::uint16_t character : dictionary.characters) out.number(character);
  for (const StateScores& scores : dictionary.emissions) write_scores(out, scores);
}

template <class T>
std::vector<T> numbers(SectionReader& in, const char* field, std::uint32_t count) {
  FieldReader fields(in.take(field, count, sizeof(T)));
  std::vector<T> list(count);
  for (T& number : list) fields.number(number);
  return list;
}

StateScores read_scores(FieldReader& fields) {
  StateScores scores;
  for (double& score : scores) fields.number(score);
  return scores;
}

void read(SectionReader& in, const SectionHeader& h, TokenizerData& data) {
  if (h.merges != 0 || h.splits != 0) in.refuse("merges, splits", "mean nothing for this kind");
  auto dictionary = std::make_shared<WordDictionary>();
  std::uint32_t words = 0, word_bytes = 0, characters = 0;
  FieldReader fields(in.take("dictionary", 1, 16 + 8 + (1 + kWordStates) * kWordStates * kScoreBytes));
  fields.number(words);
  fields.number(word_bytes);
  fields.number(characters);
  fields.zeros(4);
  if (!fields.reserved_are_zero()) in.refuse("dictionary", "reserved bytes are not zero");
  fields.number(dictionary->total);
  dictionary->start = read_scores(fields);
  for (StateScores& from : dictionary->transitions) from = read_scores(fields);
  dictionary->lengths = numbers<std::uint8_t>(in, "word lengths", words);
  dictionary->frequencies = numbers<std::uint32_t>(in, "word frequencies", words);
  dictionary->words = in.text("words", word_bytes);
  dictionary->characters = numbers<std::uint16_t>(in, "characters", characters);
  FieldReader emissions(in.take("emissions", characters, kWordStates * kScoreBytes));
  dictionary->emissions.resize(characters);
  for (StateScores& scores : dictionary->emissions) scores = read_scores(emissions);
  data.dictionary = std::move(dictionary);
}

}  // namespace

const KindSection kLongestMatchSection = {TokenizerKind::longest_match, 0, check, fill, write, read};

}  // namespace leafcutter::compress
