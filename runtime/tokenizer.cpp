#include "runtime/tokenizer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "runtime/byte_level.h"
#include "runtime/merge_table.h"
#include "runtime/text_splitter.h"
#include "runtime/token_table.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

using compress::TokenizerData;
using compress::TokenKind;

constexpr std::uint32_t kNone = ~0u;

// Tokens that are looked for in the text itself: kinds special and user_defined.
bool stands_apart(TokenKind kind) { return kind == TokenKind::special || kind == TokenKind::user_defined; }

TokenTable table_of(const TokenizerData& data) {
  std::size_t bytes = 0;
  for (const std::string& token : data.tokens) bytes += token.size();
  TokenTable table(data.tokens.size(), bytes);
  for (std::size_t id = 0; id < data.tokens.size(); id++) {
    const auto raw = stands_apart(data.kinds[id]) ? std::nullopt : bytes_of_spelling(data.tokens[id]);
    table.add(raw ? *raw : data.tokens[id]);
  }
  table.index();
  return table;
}

void check(const TokenizerData& data, const std::string& file) {
  const std::string where = file + ", tokenizer";
  if (data.kind != compress::TokenizerKind::byte_level_bpe)
    throw Error(ErrorKind::unsupported, where, "its kind " + std::to_string(static_cast<int>(data.kind)) + " is not served");
  if (data.tokens.empty() || data.kinds.size() != data.tokens.size())
    throw Error(ErrorKind::bad_file, where,
                std::to_string(data.kinds.size()) + " kinds for " + std::to_string(data.tokens.size()) + " tokens");
  for (const compress::Merge& merge : data.merges)
    if (std::max({merge.left, merge.right, merge.result}) >= data.tokens.size())
      throw Error(ErrorKind::bad_file, where, "a merge names a token past the vocabulary");
}

}  // namespace

struct Tokenizer::State {
  State(TokenizerData data, const std::string& file)
      : table(table_of(data)), merges(data.merges), splitter(data.splits, file), kinds(std::move(data.kinds)) {
    for (int byte = 0; byte < 256; byte++) {
      const char text = static_cast<char>(byte);
      byte_ids[static_cast<std::size_t>(byte)] = table.find({&text, 1}).value_or(data.unknown_id.value_or(kNone));
    }
    for (std::uint32_t id = 0; id < kinds.size(); id++)
      if (stands_apart(kinds[id]) && !table.text(id).empty()) apart.push_back(id);
    // The longest first, so that the first that fits is the longest.
    std::sort(apart.begin(), apart.end(), [&](std::uint32_t a, std::uint32_t b) {
      const auto x = table.text(a), y = table.text(b);
      return x.size() != y.size() ? x.size() > y.size() : a < b;
    });
    for (const std::uint32_t id : apart) first_bytes[static_cast<std::uint8_t>(table.text(id)[0])] = true;
    prompt_begin = data.add_begin ? data.begin_id : std::nullopt;
    if (data.end_id) ends.push_back(*data.end_id);
    ends.insert(ends.end(), data.end_of_turn_ids.begin(), data.end_of_turn_ids.end());
    add_prefix_space = data.add_prefix_space;
    ignore_merges = data.ignore_merges;
    template_name = std::move(data.template_name);
    vocabulary = static_cast<std::uint32_t>(table.size());
    while (vocabulary > 0 && kinds[vocabulary - 1] == TokenKind::unused) vocabulary--;  // padding at the end
  }

  // The token of `apart` that begins here; kNone when there is none.
  std::uint32_t apart_at(std::string_view text, bool parse_special) const {
    if (!first_bytes[static_cast<std::uint8_t>(text[0])]) return kNone;
    for (const std::uint32_t id : apart)
      if ((parse_special || kinds[id] == TokenKind::user_defined) && text.starts_with(table.text(id))) return id;
    return kNone;
  }

  void piece(std::string_view bytes, std::vector<std::uint32_t>& out) const {
    if (ignore_merges)
      if (const auto whole = table.find(bytes); whole && !stands_apart(kinds[*whole])) return out.push_back(*whole);
    std::vector<std::uint32_t> ids;
    ids.reserve(bytes.size());
    for (const char c : bytes) {
      const std::uint32_t id = byte_ids[static_cast<std::uint8_t>(c)];
      if (id == kNone)
        throw Error(ErrorKind::unsupported, "tokenizer",
                    "no token for byte " + std::to_string(static_cast<std::uint8_t>(c)) + " and none for the unknown");
      ids.push_back(id);
    }
    merges.merge(ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }

  // Text without tokens that stand apart. Well-formed runs go through the expressions; broken bytes are pieces of their own.
  void plain(std::string_view text, std::vector<std::uint32_t>& out) const {
    std::string spaced;
    if (add_prefix_space && !text.empty() && text[0] != ' ') text = spaced = " " + std::string(text);
    std::size_t begin = 0, at = 0;
    const auto run = [&](std::size_t end) {
      for (const std::string_view part : splitter.split(text.substr(begin, end - begin))) piece(part, out);
    };
    while (at < text.size()) {
      const Utf8Step step = next_character(text.substr(at));
      if (step.kind != Utf8Step::Kind::whole) {
        run(at);
        piece(text.substr(at, step.bytes), out);
        begin = at + step.bytes;
      }
      at += step.bytes;
    }
    run(text.size());
  }

  TokenTable table;
  MergeTable merges;
  TextSplitter splitter;
  std::vector<TokenKind> kinds;
  std::array<std::uint32_t, 256> byte_ids{};
  std::vector<std::uint32_t> apart;
  std::array<bool, 256> first_bytes{};
  std::optional<std::uint32_t> prompt_begin;
  std::vector<std::uint32_t> ends;
  std::uint32_t vocabulary = 0;
  bool add_prefix_space = false, ignore_merges = false;
  std::string template_name;
};

Tokenizer::Tokenizer(TokenizerData data, const std::string& file) {
  check(data, file);
  state_ = std::make_unique<State>(std::move(data), file);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<std::uint32_t> ids;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::uint32_t id = state_->apart_at(text.substr(at), parse_special);
    if (id == kNone) {
      at++;
      continue;
    }
    state_->plain(text.substr(begin, at - begin), ids);
    ids.push_back(id);
    at += state_->table.text(id).size();
    begin = at;
  }
  state_->plain(text.substr(begin), ids);
  return ids;
}

std::string Tokenizer::bytes_of(std::uint32_t id, bool with_special) const {
  if (id >= state_->table.size()) return {};
  const TokenKind kind = state_->kinds[id];
  if (kind == TokenKind::unused || (!with_special && (kind == TokenKind::special || kind == TokenKind::unknown))) return {};
  return std::string(state_->table.text(id));
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, bool with_special) const {
  std::string text;
  for (const std::uint32_t id : ids) text += bytes_of(id, with_special);
  return text;
}

std::uint32_t Tokenizer::vocabulary_size() const { return state_->vocabulary; }
std::optional<std::uint32_t> Tokenizer::begin_id() const { return state_->prompt_begin; }
bool Tokenizer::is_special(std::uint32_t id) const { return id < state_->kinds.size() && state_->kinds[id] == TokenKind::special; }
bool Tokenizer::is_end(std::uint32_t id) const { return std::find(state_->ends.begin(), state_->ends.end(), id) != state_->ends.end(); }

std::optional<std::uint32_t> Tokenizer::id_of(std::string_view token) const {
  if (const auto id = state_->table.find(token); id && stands_apart(state_->kinds[*id])) return id;
  const auto raw = bytes_of_spelling(token);
  return state_->table.find(raw ? std::string_view(*raw) : token);
}

const std::string& Tokenizer::chat_template_name() const { return state_->template_name; }
std::size_t Tokenizer::memory_bytes() const {
  return sizeof(State) + state_->table.memory_bytes() + state_->merges.memory_bytes() + state_->kinds.capacity() +
         state_->apart.capacity() * 4;
}

}  // namespace leafcutter::runtime
