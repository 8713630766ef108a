#include "runtime/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "runtime/text_codec.h"

namespace leafcutter::runtime {

using compress::TokenKind;

struct Tokenizer::State {
  State(compress::TokenizerData data, const std::string& file) : kinds(std::move(data.kinds)), codec(make_text_codec(data, kinds, file)) {
    begin = data.begin_id;
    end = data.end_id;
    prompt_begin = data.add_begin ? data.begin_id : std::nullopt;
    unknown = data.unknown_id;
    if (data.end_id) ends.push_back(*data.end_id);
    ends.insert(ends.end(), data.end_of_turn_ids.begin(), data.end_of_turn_ids.end());
    template_name = std::move(data.template_name);
    vocabulary = static_cast<std::uint32_t>(kinds.size());
    while (vocabulary > 0 && kinds[vocabulary - 1] == TokenKind::unused) vocabulary--;  // padding at the end
  }

  std::vector<TokenKind> kinds;
  std::unique_ptr<TextCodec> codec;
  std::optional<std::uint32_t> prompt_begin, begin, end, unknown;
  std::vector<std::uint32_t> ends;
  std::uint32_t vocabulary = 0;
  std::string template_name;
};

Tokenizer::Tokenizer(compress::TokenizerData data, const std::string& file) {
  if (data.tokens.empty() || data.kinds.size() != data.tokens.size())
    throw Error(ErrorKind::bad_file, file + ", tokenizer",
                std::to_string(data.kinds.size()) + " kinds for " + std::to_string(data.tokens.size()) + " tokens");
  state_ = std::make_unique<State>(std::move(data), file);
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  return state_->codec->encode(text, parse_special, true);
}

std::vector<std::uint32_t> Tokenizer::encode_after(std::string_view text) const { return state_->codec->encode(text, false, false); }

std::string Tokenizer::bytes_of(std::uint32_t id, bool with_special) const {
  if (id >= state_->kinds.size()) return {};
  const TokenKind kind = state_->kinds[id];
  if (kind == TokenKind::unused || (!with_special && (kind == TokenKind::special || kind == TokenKind::unknown))) return {};
  return state_->codec->bytes_of(id);
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, bool with_special) const {
  std::string text;
  std::optional<std::uint32_t> first;
  for (const std::uint32_t id : ids) {
    const std::string bytes = bytes_of(id, with_special);
    if (!first && !bytes.empty()) first = id;
    text += bytes;
  }
  if (first) state_->codec->trim_start(text, *first);
  return text;
}

std::uint32_t Tokenizer::vocabulary_size() const { return state_->vocabulary; }
std::optional<std::uint32_t> Tokenizer::begin_id() const { return state_->prompt_begin; }
std::optional<std::uint32_t> Tokenizer::begin_token() const { return state_->begin; }
std::optional<std::uint32_t> Tokenizer::end_token() const { return state_->end; }

std::optional<std::uint32_t> Tokenizer::marker(std::string_view spelling) const {
  const auto id = state_->codec->id_of(spelling);
  return id && stands_apart(state_->kinds[*id]) ? id : std::nullopt;
}

bool Tokenizer::is_special(std::uint32_t id) const { return id < state_->kinds.size() && state_->kinds[id] == TokenKind::special; }
bool Tokenizer::is_unknown(std::uint32_t id) const {
  return id == state_->unknown || (id < state_->kinds.size() && state_->kinds[id] == TokenKind::unknown);
}
bool Tokenizer::is_end(std::uint32_t id) const { return std::find(state_->ends.begin(), state_->ends.end(), id) != state_->ends.end(); }
std::optional<std::uint32_t> Tokenizer::id_of(std::string_view token) const { return state_->codec->id_of(token); }
const std::string& Tokenizer::chat_template_name() const { return state_->template_name; }
std::size_t Tokenizer::memory_bytes() const { return sizeof(State) + state_->kinds.capacity() + state_->codec->memory_bytes(); }

}  // namespace leafcutter::runtime
