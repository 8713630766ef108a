// Text <-> ids. Immutable after construction and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compress/tokenizer_data.h"

namespace leafcutter::runtime {

class Tokenizer {
 public:
  // Throws Error(bad_file | unsupported) naming `file` when the data is inconsistent or an expression does not compile.
  Tokenizer(compress::TokenizerData data, const std::string& file);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // ids of raw text, nothing added. Text of a user is never parsed as special tokens unless parse_special. Any bytes are accepted; invalid UTF-8 goes in as bytes.
  // Throws Error(unsupported) when an expression hits its match limit.
  std::vector<std::uint32_t> encode(std::string_view text, bool parse_special = false) const;
  // The same for text behind a special token: without what goes in front of a text's beginning alone.
  std::vector<std::uint32_t> encode_after(std::string_view text) const;

  // The bytes of one token (special tokens: their text only with_special). An id past the vocabulary gives "".
  std::string bytes_of(std::uint32_t id, bool with_special = false) const;
  // Without the space that encoding put in front, for tokenizers that do so.
  std::string decode(std::span<const std::uint32_t> ids, bool with_special = false) const;

  std::uint32_t vocabulary_size() const;             // real entries; ids above are padding of the model's rows
  std::optional<std::uint32_t> begin_id() const;     // to put in front of a prompt; none when the tokenizer adds none
  std::optional<std::uint32_t> begin_token() const;  // the same, whether it is put in front or not
  std::optional<std::uint32_t> end_token() const;
  // A token that stands apart (special or user-defined) by its spelling.
  std::optional<std::uint32_t> marker(std::string_view spelling) const;
  bool is_special(std::uint32_t id) const;
  bool is_unknown(std::uint32_t id) const;  // stands for what the vocabulary has no word for: CPM-Live leaves it out of prompts
  bool is_end(std::uint32_t id) const;      // end of text or of turn, as the tokenizer knows
  std::optional<std::uint32_t> id_of(std::string_view token) const;  // by its spelling in the vocabulary
  const std::string& chat_template_name() const;                     // recognised built-in ("chatml"), or empty
  std::size_t memory_bytes() const;                                  // what it holds

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Puts the bytes of tokens together so that only whole UTF-8 characters come out; what is broken for good comes out as U+FFFD. Not thread-safe.
class Utf8Assembler {
 public:
  std::string push(std::string_view bytes);  // what is complete now
  std::string flush();                       // what is left, broken or not

 private:
  std::string pending_;
};

}  // namespace leafcutter::runtime
