#include "compress/jieba_dictionary.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "base/error.h"
#include "compress/printable_text.h"
#include "compress/python_table.h"

namespace leafcutter::compress {
namespace {

struct Entry {
  std::string_view word;
  std::uint32_t frequency;
};

// What bytes.strip() takes off.
std::string_view stripped(std::string_view line) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  const std::size_t begin = line.find_first_not_of(kSpaces);
  return begin == std::string_view::npos ? std::string_view() : line.substr(begin, line.find_last_not_of(kSpaces) + 1 - begin);
}

Entry entry_of(std::string_view line, const std::string& where) {
  const auto refuse = [&](const std::string& problem) { throw Error(ErrorKind::bad_file, where, problem); };
  line = stripped(line);
  if (!is_utf8(line)) refuse("is no UTF-8");
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) refuse("\"" + printable_text(line, 60) + "\" is no word and frequency");
  const std::string_view word = line.substr(0, space), rest = line.substr(space + 1);
  const std::string_view digits = rest.substr(0, rest.find(' '));
  if (word.size() > WordDictionaryLimits::kWordBytes)
    refuse("its word has " + std::to_string(word.size()) + " bytes, allowed " + std::to_string(WordDictionaryLimits::kWordBytes));
  std::uint32_t frequency = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), frequency);
  if (error != std::errc() || end != digits.data() + digits.size())
    refuse("\"" + printable_text(digits, 40) + "\" is no frequency up to 4294967295");
  return {word, frequency};
}

void add_words(std::string_view text, const std::string& file, WordDictionary& dictionary) {
  std::vector<Entry> entries;
  for (std::size_t line = 1; !text.empty(); line++) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string where = file + ", line " + std::to_string(line);
    if (entries.size() == WordDictionaryLimits::kWords)
      throw Error(ErrorKind::bad_file, where, "more than " + std::to_string(WordDictionaryLimits::kWords) + " words");
    entries.push_back(entry_of(text.substr(0, end + 1), where));
    dictionary.total += entries.back().frequency;
    text.remove_prefix(end + 1);
  }
  if (dictionary.total == 0) throw Error(ErrorKind::bad_file, file, "holds no word with a frequency");
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.word < b.word; });
  for (std::size_t i = 0; i < entries.size(); i++) {
    const bool comes_again = i + 1 < entries.size() && entries[i + 1].word == entries[i].word;
    if (comes_again || entries[i].frequency == 0) continue;
    dictionary.words += entries[i].word;
    dictionary.lengths.push_back(static_cast<std::uint8_t>(entries[i].word.size()));
    dictionary.frequencies.push_back(entries[i].frequency);
  }
}

WordState state_of(std::string_view key, const PythonTable& table) {
  constexpr std::string_view kLetters = "BMES";
  const std::size_t state = key.size() == 1 ? kLetters.find(key[0]) : std::string_view::npos;
  if (state == std::string_view::npos) table.refuse("\"" + printable_text(key, 40) + "\" is none of the states B, M, E, S");
  return static_cast<WordState>(state);
}

double score_of(double number, const PythonTable& table) {
  if (!std::isfinite(number) || number > 0) table.refuse("a number that is no logarithm of a probability");
  return number;
}

// Calls row(state) for each state of the table; each must come once, because jieba looks all of them up.
template <class Row>
void each_state(PythonTable& table, Row&& row) {
  unsigned seen = 0;
  table.dictionary([&](const std::string& key) {
    const WordState state = state_of(key, table);
    if ((seen & 1u << state) != 0) table.refuse("state " + key + " comes twice");
    seen |= 1u << state;
    row(state);
  });
  table.end();
  if (seen != 15) table.refuse("has no row for one of the states B, M, E, S");
}

// The one character of a key where jieba looks it up, else none.
std::optional<std::uint16_t> han_of(std::string_view key) {
  if (key.size() != 3) return std::nullopt;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(key[i]); };
  const std::uint32_t code = (byte(0) & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
  if (byte(0) < 0xe0 || code < kFirstHan || code > kLastHan) return std::nullopt;
  return static_cast<std::uint16_t>(code);
}

void add_emissions(std::string_view text, const std::string& file, WordDictionary& dictionary) {
  constexpr StateScores kNone = {kNoScore, kNoScore, kNoScore, kNoScore};
  std::vector<StateScores> rows(kLastHan - kFirstHan + 1, kNone);
  std::vector<bool> known(rows.size(), false);
  PythonTable table(text, file);
  each_state(table, [&](WordState state) {
    table.dictionary([&](const std::string& key) {
      const double score = score_of(table.number(), table);
      const auto character = han_of(key);
      if (!character) return;
      rows[*character - kFirstHan][state] = score;
      known[*character - kFirstHan] = true;
    });
  });
  for (std::size_t i = 0; i < rows.size(); i++)
    if (known[i]) {
      dictionary.characters.push_back(static_cast<std::uint16_t>(kFirstHan + i));
      dictionary.emissions.push_back(rows[i]);
    }
}

}  // namespace

WordDictionary parse_jieba(const JiebaFiles& files, const std::string& folder) {
  WordDictionary dictionary;
  add_words(files.words, folder + "/dict.txt", dictionary);
  PythonTable start(files.start, folder + "/finalseg/prob_start.py");
  each_state(start, [&](WordState state) { dictionary.start[state] = score_of(start.number(), start); });
  for (StateScores& from : dictionary.transitions) from.fill(kNoScore);
  PythonTable transitions(files.transitions, folder + "/finalseg/prob_trans.py");
  each_state(transitions, [&](WordState from) {
    transitions.dictionary([&](const std::string& key) {
      const WordState to = state_of(key, transitions);
      dictionary.transitions[from][to] = score_of(transitions.number(), transitions);
    });
  });
  add_emissions(files.emissions, folder + "/finalseg/prob_emit.py", dictionary);
  return dictionary;
}

}  // namespace leafcutter::compress
