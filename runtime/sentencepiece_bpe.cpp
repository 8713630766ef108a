#include "runtime/sentencepiece_bpe.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "runtime/added_tokens.h"
#include "runtime/merge_table.h"
#include "runtime/score_merger.h"
#include "runtime/text_splitter.h"
#include "runtime/token_table.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

using compress::Replacement;
using compress::SplitRule;
using compress::TokenizerData;
using compress::TokenKind;

constexpr std::uint32_t kNone = ~0u;

std::string replaced(std::string_view text, const std::vector<Replacement>& replacements) {
  std::string now(text), next;
  for (const Replacement& r : replacements) {
    if (r.from.empty()) {
      if (!now.empty()) now.insert(0, r.to);
      continue;
    }
    std::size_t done = 0, at = now.find(r.from);
    if (at == std::string::npos) continue;
    next.clear();
    for (; at != std::string::npos; at = now.find(r.from, done)) {
      next.append(now, done, at - done).append(r.to);
      done = at + r.from.size();
    }
    next.append(now, done);
    now.swap(next);
  }
  return now;
}

// <0x00> to <0xFF>.
std::optional<std::uint8_t> byte_of_spelling(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling[5] != '>') return std::nullopt;
  std::uint8_t byte = 0;
  const auto [after, problem] = std::from_chars(spelling.data() + 3, spelling.data() + 5, byte, 16);
  return problem == std::errc{} && after == spelling.data() + 5 ? std::optional(byte) : std::nullopt;
}

// One way of cutting text that comes after another: expressions, or spaces.
struct Stage {
  std::unique_ptr<TextSplitter> splitter;  // null: spaces
  SplitRule spaces;
};

std::vector<Stage> stages_of(const std::vector<SplitRule>& rules, const std::string& file) {
  std::vector<Stage> stages;
  for (std::size_t i = 0; i < rules.size();) {
    std::size_t end = i;
    while (end < rules.size() && rules[end].kind != SplitRule::Kind::metaspace) end++;
    Stage& stage = stages.emplace_back();
    if (end > i)
      stage.splitter = std::make_unique<TextSplitter>(std::span(rules).subspan(i, end - i), file);
    else
      stage.spaces = rules[end++];
    i = end;
  }
  return stages;
}

class SentencePieceBpe : public TextCodec {
 public:
  SentencePieceBpe(const TokenizerData& data, TokenKinds kinds, const std::string& file)
      : table_(data.tokens),
        kinds_(kinds),
        merges_(data.merges),
        scores_(data.scores),
        by_score_(table_, kinds, scores_),
        stages_(stages_of(data.splits, file)),
        replacements_(data.replacements),
        decoding_(data.decoding),
        unknown_(data.unknown_id.value_or(kNone)),
        byte_fallback_(data.byte_fallback),
        fuse_unknown_(data.fuse_unknown),
        ignore_merges_(data.ignore_merges),
        strip_first_token_(data.strip_first_token),
        strip_spaces_(data.strip_spaces) {
    byte_ids_.fill(kNone);
    for (std::uint32_t id = 0; id < kinds.size(); id++)
      if (kinds[id] == TokenKind::byte)
        if (const auto byte = byte_of_spelling(table_.text(id)); byte && byte_ids_[*byte] == kNone) byte_ids_[*byte] = id;
    for_each_token_apart(data, kinds, [&](std::uint32_t id, const compress::TokenMatch& rules, bool special) {
      if (!special && !scores_.empty())  // SentencePiece keeps them whole while it merges
        kept_whole_.add(id, replaced(table_.text(id), spaces_alone()), {}, false);
      else if (rules.normalized)
        normalized_.push_back(id), after_.add(id, replaced(table_.text(id), replacements_), rules, special);
      else
        before_.add(id, table_.text(id), rules, special);
    });
    for (AddedTokens* added : {&before_, &after_, &kept_whole_}) added->index();
  }

  std::vector<std::uint32_t> encode(std::string_view text, bool parse_special, bool begins) const override {
    std::vector<std::uint32_t> ids;
    for (const AddedTokens::Part& part : before_.cut(text, parse_special)) {
      if (part.id != AddedTokens::kText) {
        ids.push_back(part.id);
        continue;
      }
      const bool first = begins && part.text.data() == text.data();
      const std::string now = replaced(part.text, replacements_);
      for (const AddedTokens::Part& inner : after_.cut(now, parse_special)) {
        if (inner.id != AddedTokens::kText)
          ids.push_back(inner.id);
        else if (!scores_.empty())
          merge_by_score(inner.text, ids);
        else
          plain(inner.text, first && inner.text.data() == now.data(), ids);
      }
    }
    return ids;
  }

  std::string bytes_of(std::uint32_t id) const override {
    if (kinds_[id] == TokenKind::byte)
      if (const auto byte = byte_of_spelling(table_.text(id))) return std::string(1, static_cast<char>(*byte));
    return replaced(spelling_of(id), decoding_);
  }

  void trim_start(std::string& text, std::uint32_t first) const override {
    if (strip_first_token_ && kinds_[first] != TokenKind::byte) {
      std::string spelling = spelling_of(first);
      for (const Replacement& r : decoding_) spelling = replaced(spelling, {{r.from, ""}});
      text.replace(0, bytes_of(first).size(), spelling);
    }
    text.erase(0, std::min(text.find_first_not_of(' '), std::size_t{strip_spaces_}));
  }

  std::optional<std::uint32_t> id_of(std::string_view token) const override { return table_.find(token); }

  std::size_t memory_bytes() const override {
    return sizeof *this + table_.memory_bytes() + merges_.memory_bytes() + scores_.capacity() * sizeof(float) + before_.memory_bytes() +
           after_.memory_bytes() + kept_whole_.memory_bytes();
  }

 private:
  // The replacements that hold within a text, without what comes in front.
  std::vector<Replacement> spaces_alone() const {
    std::vector<Replacement> list = replacements_;
    std::erase_if(list, [](const Replacement& r) { return r.from.empty(); });
    return list;
  }

  // A token that was looked for after the replacements stands for what was found.
  std::string spelling_of(std::uint32_t id) const {
    const std::string spelling(table_.text(id));
    return std::binary_search(normalized_.begin(), normalized_.end(), id) ? replaced(spelling, replacements_) : spelling;
  }

  // None for what text never spells: special tokens.
  std::optional<std::uint32_t> spelled(std::string_view text) const {
    const auto id = table_.find(text);
    return id && kinds_[*id] != TokenKind::special && kinds_[*id] != TokenKind::unused ? id : std::nullopt;
  }

  // A character that is no token. Gives true when it became bytes.
  bool as_bytes(std::string_view character, std::vector<std::uint32_t>& ids) const {
    if (!byte_fallback_) return false;
    for (const char c : character)
      if (byte_ids_[static_cast<std::uint8_t>(c)] == kNone) return false;
    for (const char c : character) ids.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
    return true;
  }

  void merge_by_score(std::string_view text, std::vector<std::uint32_t>& out) const {
    std::vector<ScoreMerger::Symbol> symbols;
    for (const AddedTokens::Part& part : kept_whole_.cut(text, true)) {
      if (part.id != AddedTokens::kText) {
        symbols.push_back({part.text, true});
        continue;
      }
      for (std::size_t at = 0; at < part.text.size();) {
        const std::size_t bytes = next_character(part.text.substr(at)).bytes;
        symbols.push_back({part.text.substr(at, bytes)});
        at += bytes;
      }
    }
    bool unknown_before = false;
    for (const std::string_view token : by_score_.merge(symbols)) {
      const auto id = table_.find(token);
      const bool known = id && kinds_[*id] != TokenKind::special && kinds_[*id] != TokenKind::byte && kinds_[*id] != TokenKind::unknown;
      const bool unknown = !known && !as_bytes(token, out) && unknown_ != kNone;
      if (known)
        out.push_back(*id);
      else if (unknown && !unknown_before)
        out.push_back(unknown_);
      unknown_before = unknown;
    }
  }

  // Text without tokens that stand apart. Well-formed runs are cut by the rules; broken bytes are pieces of their own.
  void plain(std::string_view text, bool first, std::vector<std::uint32_t>& out) const {
    for_each_run(
        text, [&](std::string_view run) { cut(run, first && run.data() == text.data(), 0, out); },
        [&](std::string_view broken) { piece(broken, out); });
  }

  void cut(std::string_view text, bool first, std::size_t stage, std::vector<std::uint32_t>& out) const {
    if (stage == stages_.size()) return piece(text, out);
    if (stages_[stage].splitter) {
      for (const std::string_view part : stages_[stage].splitter->split(text))
        cut(part, first && part.data() == text.data(), stage + 1, out);
      return;
    }
    const SplitRule& rule = stages_[stage].spaces;
    std::string spelled = replaced(text, {{" ", rule.expression}});
    if ((rule.scheme == SplitRule::Scheme::always || (rule.scheme == SplitRule::Scheme::first && first)) &&
        !spelled.starts_with(rule.expression))
      spelled.insert(0, rule.expression);
    const std::string_view whole = spelled;
    if (!rule.cut) return cut(whole, first, stage + 1, out);
    for (std::size_t at = 0; at < whole.size();) {
      const std::size_t end = std::min(whole.find(rule.expression, at + 1), whole.size());
      cut(whole.substr(at, end - at), first && at == 0, stage + 1, out);
      at = end;
    }
  }

  void piece(std::string_view text, std::vector<std::uint32_t>& out) const {
    if (ignore_merges_)
      if (const auto whole = spelled(text)) return out.push_back(*whole);
    std::vector<std::uint32_t> ids;
    bool unknown = false;  // one is waiting: the next may be fused with it
    for (std::size_t at = 0; at < text.size();) {
      const std::string_view character = text.substr(at, next_character(text.substr(at)).bytes);
      at += character.size();
      if (const auto id = spelled(character)) {
        if (unknown) ids.push_back(unknown_);
        unknown = false;
        ids.push_back(*id);
      } else if (!as_bytes(character, ids) && unknown_ != kNone) {
        if (unknown && !fuse_unknown_) ids.push_back(unknown_);
        unknown = true;
      }
    }
    if (unknown) ids.push_back(unknown_);
    merges_.merge(ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }

  const TokenTable table_;
  const TokenKinds kinds_;
  const MergeTable merges_;
  const std::vector<float> scores_;
  const ScoreMerger by_score_;
  const std::vector<Stage> stages_;
  const std::vector<Replacement> replacements_, decoding_;
  std::array<std::uint32_t, 256> byte_ids_{};
  AddedTokens before_, after_, kept_whole_;  // looked for before the replacements, after them, while merging by score
  std::vector<std::uint32_t> normalized_;    // ids of after_, ascending
  const std::uint32_t unknown_;
  const bool byte_fallback_, fuse_unknown_, ignore_merges_, strip_first_token_;
  const std::uint8_t strip_spaces_;
};

}  // namespace

std::unique_ptr<TextCodec> make_sentencepiece_bpe(const TokenizerData& data, TokenKinds kinds, const std::string& file) {
  check_merges(data, file);
  if (!data.scores.empty() && data.scores.size() != data.tokens.size())
    throw Error(ErrorKind::bad_file, file + ", tokenizer",
                std::to_string(data.scores.size()) + " scores for " + std::to_string(data.tokens.size()) + " tokens");
  return std::make_unique<SentencePieceBpe>(data, kinds, file);
}

}  // namespace leafcutter::runtime
