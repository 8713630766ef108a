#include "runtime/byte_level_bpe.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "runtime/added_tokens.h"
#include "runtime/byte_level.h"
#include "runtime/merge_table.h"
#include "runtime/text_splitter.h"
#include "runtime/token_table.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

using compress::TokenizerData;

constexpr std::uint32_t kNone = ~0u;

TokenTable table_of(const TokenizerData& data, TokenKinds kinds) {
  std::size_t bytes = 0;
  for (const std::string& token : data.tokens) bytes += token.size();
  TokenTable table(data.tokens.size(), bytes);
  for (std::size_t id = 0; id < data.tokens.size(); id++) {
    const auto raw = stands_apart(kinds[id]) ? std::nullopt : bytes_of_spelling(data.tokens[id]);
    table.add(raw ? *raw : data.tokens[id]);
  }
  table.index();
  return table;
}

class ByteLevelBpe : public TextCodec {
 public:
  ByteLevelBpe(const TokenizerData& data, TokenKinds kinds, const std::string& file)
      : table_(table_of(data, kinds)),
        merges_(data.merges),
        splitter_(data.splits, file),
        kinds_(kinds),
        add_prefix_space_(data.add_prefix_space),
        ignore_merges_(data.ignore_merges) {
    for (int byte = 0; byte < 256; byte++) {
      const char text = static_cast<char>(byte);
      byte_ids_[static_cast<std::size_t>(byte)] = table_.find({&text, 1}).value_or(data.unknown_id.value_or(kNone));
    }
    for_each_token_apart(data, kinds, [&](std::uint32_t id, const compress::TokenMatch& rules, bool special) {
      (rules.normalized ? after_ : before_).add(id, table_.text(id), rules, special);
    });
    before_.index();
    after_.index();
  }

  std::vector<std::uint32_t> encode(std::string_view text, bool parse_special, bool /*begins*/) const override {
    std::vector<std::uint32_t> ids;
    for (const AddedTokens::Part& part : before_.cut(text, parse_special)) {
      if (part.id != AddedTokens::kText) {
        ids.push_back(part.id);
        continue;
      }
      for (const AddedTokens::Part& inner : after_.cut(part.text, parse_special))
        if (inner.id != AddedTokens::kText)
          ids.push_back(inner.id);
        else
          plain(inner.text, ids);
    }
    return ids;
  }

  std::string bytes_of(std::uint32_t id) const override { return std::string(table_.text(id)); }

  std::optional<std::uint32_t> id_of(std::string_view token) const override {
    if (const auto id = table_.find(token); id && stands_apart(kinds_[*id])) return id;
    const auto raw = bytes_of_spelling(token);
    return table_.find(raw ? std::string_view(*raw) : token);
  }

  std::size_t memory_bytes() const override {
    return sizeof *this + table_.memory_bytes() + merges_.memory_bytes() + before_.memory_bytes() + after_.memory_bytes();
  }

 private:
  void piece(std::string_view bytes, std::vector<std::uint32_t>& out) const {
    if (ignore_merges_)
      if (const auto whole = table_.find(bytes); whole && !stands_apart(kinds_[*whole])) return out.push_back(*whole);
    std::vector<std::uint32_t> ids;
    ids.reserve(bytes.size());
    for (const char c : bytes) {
      const std::uint32_t id = byte_ids_[static_cast<std::uint8_t>(c)];
      if (id == kNone)
        throw Error(ErrorKind::unsupported, "tokenizer",
                    "no token for byte " + std::to_string(static_cast<std::uint8_t>(c)) + " and none for the unknown");
      ids.push_back(id);
    }
    merges_.merge(ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }

  // Text without tokens that stand apart. Well-formed runs go through the expressions; broken bytes are pieces of their own.
  void plain(std::string_view text, std::vector<std::uint32_t>& out) const {
    std::string spaced;
    if (add_prefix_space_ && !text.empty() && text[0] != ' ') text = spaced = " " + std::string(text);
    const auto run = [&](std::string_view whole) {
      for (const std::string_view part : splitter_.split(whole)) piece(part, out);
    };
    for_each_run(text, run, [&](std::string_view broken) { piece(broken, out); });
  }

  TokenTable table_;
  MergeTable merges_;
  TextSplitter splitter_;
  TokenKinds kinds_;
  std::array<std::uint32_t, 256> byte_ids_{};
  AddedTokens before_, after_;
  const bool add_prefix_space_, ignore_merges_;
};

}  // namespace

std::unique_ptr<TextCodec> make_byte_level_bpe(const TokenizerData& data, TokenKinds kinds, const std::string& file) {
  check_merges(data, file);
  return std::make_unique<ByteLevelBpe>(data, kinds, file);
}

}  // namespace leafcutter::runtime
