#include "runtime/longest_match.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "runtime/jieba_segmenter.h"
#include "runtime/prefix_table.h"
#include "runtime/token_table.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

using compress::TokenizerData;
using compress::TokenKind;

constexpr std::size_t kLongestWord = 200;  // characters

// Broken bytes become U+FFFD, one for each part that no character can begin with; `room` keeps the text when there are any.
std::string_view well_formed(std::string_view text, std::string& room) {
  std::size_t good = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = next_character(text.substr(at));
    at += step.bytes;
    if (step.kind == Utf8Step::Kind::whole) continue;
    room.append(text, good, at - step.bytes - good).append("\xef\xbf\xbd");
    good = at;
  }
  if (good == 0) return text;
  return room.append(text, good);
}

// The texts of tokens that plain text may become, sorted.
struct SortedTokens {
  SortedTokens(const TokenTable& table, TokenKinds kinds) {
    for (std::uint32_t id = 0; id < kinds.size(); id++)
      if ((kinds[id] == TokenKind::normal || kinds[id] == TokenKind::user_defined) && !table.text(id).empty()) ids.push_back(id);
    std::stable_sort(ids.begin(), ids.end(), [&](std::uint32_t a, std::uint32_t b) { return table.text(a) < table.text(b); });
    offsets.reserve(ids.size() + 1);
    for (const std::uint32_t id : ids) {
      offsets.push_back(static_cast<std::uint32_t>(bytes.size()));
      bytes += table.text(id);
    }
    offsets.push_back(static_cast<std::uint32_t>(bytes.size()));
  }

  std::vector<std::uint32_t> ids, offsets;
  std::string bytes;
};

class LongestMatch : public TextCodec {
 public:
  LongestMatch(const TokenizerData& data, TokenKinds kinds, const std::string& file)
      : segmenter_(data.dictionary, file),
        unknown_(data.unknown_id.value()),
        tokens_(data.tokens),
        sorted_(tokens_, kinds),
        matches_(sorted_.bytes, std::move(sorted_.offsets)) {
    for (std::uint32_t id = 0; id < kinds.size(); id++)
      if ((kinds[id] == TokenKind::special || kinds[id] == TokenKind::unknown) && !tokens_.text(id).empty()) specials_.push_back(id);
    // The longest first, so that the first that fits is the longest.
    std::stable_sort(specials_.begin(), specials_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return tokens_.text(a).size() > tokens_.text(b).size(); });
  }

  std::vector<std::uint32_t> encode(std::string_view text, bool parse_special, bool /*begins*/) const override {
    std::string room;
    text = well_formed(text, room);
    std::vector<std::uint32_t> ids;
    std::size_t begin = 0;
    for (std::size_t at = 0; parse_special && at < text.size(); at++)
      for (const std::uint32_t id : specials_)
        if (text.substr(at).starts_with(tokens_.text(id))) {
          plain(text.substr(begin, at - begin), ids);
          ids.push_back(id);
          begin = at + tokens_.text(id).size();
          at = begin - 1;
          break;
        }
    plain(text.substr(begin), ids);
    return ids;
  }

  std::string bytes_of(std::uint32_t id) const override { return std::string(tokens_.text(id)); }
  std::optional<std::uint32_t> id_of(std::string_view token) const override { return tokens_.find(token); }

  std::size_t memory_bytes() const override {
    return sizeof *this + segmenter_.memory_bytes() + tokens_.memory_bytes() + sorted_.bytes.capacity() +
           (sorted_.ids.capacity() + specials_.capacity()) * 4 + matches_.memory_bytes();
  }

 private:
  void plain(std::string_view text, std::vector<std::uint32_t>& out) const {
    segmenter_.cut(text, [&](std::string_view word) { match(word, out); });
  }

  void match(std::string_view word, std::vector<std::uint32_t>& out) const {
    const auto begins_character = [](char c) { return (static_cast<std::uint8_t>(c) & 0xc0) != 0x80; };
    if (word.size() > kLongestWord && std::count_if(word.begin(), word.end(), begins_character) > std::ptrdiff_t{kLongestWord})
      return out.push_back(unknown_);
    while (!word.empty()) {
      std::uint32_t id = unknown_;
      std::size_t length = next_character(word).bytes;
      PrefixTable::Range range = matches_.all();
      for (std::size_t at = 0; at < word.size();) {
        const std::size_t bytes = next_character(word.substr(at)).bytes;
        range = matches_.walk(range, word.substr(at, bytes));
        if (range.empty()) break;
        at += bytes;
        if (!matches_.ends(range)) continue;
        id = sorted_.ids[range.first];
        length = at;
      }
      out.push_back(id);
      word.remove_prefix(length);
    }
  }

  JiebaSegmenter segmenter_;
  const std::uint32_t unknown_;
  TokenTable tokens_;
  SortedTokens sorted_;
  PrefixTable matches_;
  std::vector<std::uint32_t> specials_;
};

}  // namespace

std::unique_ptr<TextCodec> make_longest_match(const TokenizerData& data, TokenKinds kinds, const std::string& file) {
  if (!data.unknown_id || *data.unknown_id >= data.tokens.size())
    throw Error(ErrorKind::bad_file, file + ", tokenizer", "it has no unknown token, which its kind needs");
  return std::make_unique<LongestMatch>(data, kinds, file);
}

}  // namespace leafcutter::runtime
