#include "runtime/jieba_segmenter.h"

#include <cmath>

#include "base/error.h"

namespace leafcutter::runtime {
namespace {

using compress::StateScores;
using compress::WordDictionary;
using enum compress::WordState;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_latin(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::size_t bytes_of_character(char lead) {
  const auto byte = static_cast<std::uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// Place of a character of well-formed UTF-8 among the Han characters that jieba knows, or kNoHan.
constexpr std::size_t kHan = compress::kLastHan - compress::kFirstHan + 1, kNoHan = ~std::size_t{0};
std::size_t han_index(std::string_view character) {
  if (character.size() != 3) return kNoHan;
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(character[i]); };
  const std::size_t code = (byte(0) & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
  return code >= compress::kFirstHan && code <= compress::kLastHan ? code - compress::kFirstHan : kNoHan;
}

bool belongs_to_run(std::string_view character) {
  if (character.size() == 1) return is_latin(character[0]) || std::string_view("+#&._%-").find(character[0]) != std::string_view::npos;
  return han_index(character) != kNoHan;
}

std::vector<std::uint32_t> offsets_of(const std::shared_ptr<const WordDictionary>& dictionary, const std::string& file) {
  const auto refuse = [&](const std::string& problem) { throw Error(ErrorKind::bad_file, file + ", tokenizer", problem); };
  if (!dictionary || dictionary->total == 0) refuse("it has no dictionary");
  if (dictionary->frequencies.size() != dictionary->lengths.size()) refuse("words and frequencies differ in number");
  if (dictionary->emissions.size() != dictionary->characters.size()) refuse("characters and emissions differ in number");
  std::vector<std::uint32_t> offsets;
  offsets.reserve(dictionary->lengths.size() + 1);
  std::uint64_t offset = 0;
  offsets.push_back(0);
  for (const std::uint8_t length : dictionary->lengths) offsets.push_back(static_cast<std::uint32_t>(offset += length));
  if (offset != dictionary->words.size() || offset > ~std::uint32_t{0}) refuse("its words' lengths do not make their bytes");
  return offsets;
}

// Pieces without Han characters: numbers and latin words, and what is between them.
void cut_latin(std::string_view text, const JiebaSegmenter::Word& word) {
  std::size_t between = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!is_latin(text[at])) {
      at++;
      continue;
    }
    std::size_t end = at;
    const auto take = [&](bool (*belongs)(char)) {
      while (end < text.size() && belongs(text[end])) end++;
    };
    take(is_latin);
    if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
      end++;
      take(is_digit);
    }
    if (end < text.size() && text[end] == '%') end++;
    if (between < at) word(text.substr(between, at - between));
    word(text.substr(at, end - at));
    at = between = end;
  }
  if (between < text.size()) word(text.substr(between));
}

}  // namespace

struct JiebaSegmenter::Run {
  std::size_t size() const { return starts.size() - 1; }
  std::string_view part(std::size_t begin, std::size_t end) const { return text.substr(starts[begin], starts[end] - starts[begin]); }

  std::string_view text;
  std::vector<std::size_t> starts;    // of each character in text, and the end
  std::vector<double> scores;         // of the best path from each character to the end
  std::vector<std::uint8_t> lengths;  // of the first word on it, in characters: words have at most 255 bytes
};

JiebaSegmenter::JiebaSegmenter(std::shared_ptr<const WordDictionary> dictionary, const std::string& file)
    : dictionary_(std::move(dictionary)),
      table_(dictionary_ ? std::string_view(dictionary_->words) : std::string_view(), offsets_of(dictionary_, file)),
      log_total_(std::log(static_cast<double>(dictionary_->total))),
      emission_rows_(kHan, 0) {
  for (std::size_t row = 0; row < dictionary_->characters.size(); row++) {
    const std::size_t place = dictionary_->characters[row] - std::size_t{compress::kFirstHan};
    if (place >= kHan || row >= kHan)
      throw Error(ErrorKind::bad_file, file + ", tokenizer", "an emission of a character that is no Han character");
    emission_rows_[place] = static_cast<std::uint16_t>(row + 1);
  }
}

void JiebaSegmenter::cut(std::string_view text, const Word& word) const {
  Run run;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    run.starts.clear();
    while (at < text.size()) {
      const std::size_t bytes = bytes_of_character(text[at]);
      if (!belongs_to_run(text.substr(at, bytes))) break;
      run.starts.push_back(at - begin);
      at += bytes;
    }
    if (at > begin) {
      run.starts.push_back(at - begin);
      run.text = text.substr(begin, at - begin);
      cut_run(run, word);
    }
    if (at < text.size()) {
      const std::size_t bytes = text.substr(at).starts_with("\r\n") ? 2 : bytes_of_character(text[at]);
      word(text.substr(at, bytes));
      at += bytes;
    }
  }
}

// From the back: of the words that begin at a character the one with the best path behind it; of equal ones the longest.
void JiebaSegmenter::find_path(Run& run) const {
  const std::size_t size = run.size();
  run.scores.assign(size + 1, 0);
  run.lengths.assign(size, 1);
  for (std::size_t begin = size; begin-- > 0;) {
    bool found = false;
    PrefixTable::Range range = table_.all();
    for (std::size_t end = begin + 1; end <= size; end++) {
      range = table_.walk(range, run.part(end - 1, end));
      if (range.empty()) break;
      if (!table_.ends(range)) continue;
      const double score = std::log(static_cast<double>(dictionary_->frequencies[range.first])) - log_total_ + run.scores[end];
      if (found && score < run.scores[begin]) continue;
      found = true;
      run.scores[begin] = score;
      run.lengths[begin] = static_cast<std::uint8_t>(end - begin);
    }
    if (!found) run.scores[begin] = 0 - log_total_ + run.scores[begin + 1];  // as a word that comes once
  }
}

void JiebaSegmenter::cut_run(Run& run, const Word& word) const {
  find_path(run);
  std::size_t singles = 0, at = 0;  // single characters wait from `singles` on
  while (at < run.size()) {
    const std::size_t end = at + run.lengths[at];
    if (run.lengths[at] > 1) {
      cut_singles(run, singles, at, word);
      word(run.part(at, end));
      singles = end;
    }
    at = end;
  }
  cut_singles(run, singles, at, word);
}

void JiebaSegmenter::cut_singles(const Run& run, std::size_t begin, std::size_t end, const Word& word) const {
  if (begin == end) return;
  // A word of the dictionary that the path did not take stays cut.
  if (end - begin == 1 || table_.ends(table_.walk(table_.all(), run.part(begin, end)))) {
    for (std::size_t at = begin; at < end; at++) word(run.part(at, at + 1));
    return;
  }
  while (begin < end) {
    const bool han = han_index(run.part(begin, begin + 1)) != kNoHan;
    std::size_t to = begin + 1;
    while (to < end && (han_index(run.part(to, to + 1)) != kNoHan) == han) to++;
    if (han)
      cut_han(run, begin, to, word);
    else
      cut_latin(run.part(begin, to), word);
    begin = to;
  }
}

// Viterbi: the best states for the characters give the words.
void JiebaSegmenter::cut_han(const Run& run, std::size_t begin, std::size_t end, const Word& word) const {
  // The two states that may come before each; of equal ones the second, whose letter is the later one.
  constexpr compress::WordState kBefore[compress::kWordStates][2] = {
      {kEnd, kSingle}, {kBegin, kMiddle}, {kBegin, kMiddle}, {kEnd, kSingle}};
  struct Step {
    std::array<std::uint8_t, compress::kWordStates> before;  // the best state of the character before, for each of this one
    std::uint8_t state;                                      // of the best path
  };
  std::vector<Step> steps(end - begin);
  StateScores scores = dictionary_->start;
  for (std::size_t state = 0; state < scores.size(); state++) scores[state] += emission(run.part(begin, begin + 1))[state];
  for (std::size_t at = begin + 1; at < end; at++) {
    const StateScores& emitted = emission(run.part(at, at + 1));
    StateScores next;
    for (std::size_t state = 0; state < next.size(); state++) {
      const auto from = [&](compress::WordState other) { return scores[other] + dictionary_->transitions[other][state] + emitted[state]; };
      const double first = from(kBefore[state][0]), second = from(kBefore[state][1]);
      next[state] = second >= first ? second : first;
      steps[at - begin].before[state] = kBefore[state][second >= first];
    }
    scores = next;
  }
  std::uint8_t state = scores[kSingle] >= scores[kEnd] ? kSingle : kEnd;
  for (std::size_t at = end; at-- > begin; state = steps[at - begin].before[state]) steps[at - begin].state = state;

  std::size_t first = begin;
  for (std::size_t at = begin; at < end; at++)
    if (steps[at - begin].state == kEnd || steps[at - begin].state == kSingle) {
      word(run.part(first, at + 1));
      first = at + 1;
    }
}

const StateScores& JiebaSegmenter::emission(std::string_view character) const {
  static constexpr StateScores kNone = {compress::kNoScore, compress::kNoScore, compress::kNoScore, compress::kNoScore};
  const std::uint16_t row = emission_rows_[han_index(character)];
  return row == 0 ? kNone : dictionary_->emissions[row - std::size_t{1}];
}

std::size_t JiebaSegmenter::memory_bytes() const {
  return sizeof(WordDictionary) + dictionary_->words.capacity() + dictionary_->lengths.capacity() +
         dictionary_->frequencies.capacity() * 4 + dictionary_->characters.capacity() * 2 +
         dictionary_->emissions.capacity() * sizeof(StateScores) + table_.memory_bytes() + emission_rows_.capacity() * 2;
}

}  // namespace leafcutter::runtime
