#include "tests/support/ptx/lexer.h"

#include <cctype>

#include "tests/support/ptx/error.h"

namespace leafcutter::ptx {
namespace {

bool starts_word(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '%' || c == '.'; }
bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '.'; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

}  // namespace

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> tokens;
  int line = 1;
  std::size_t at = 0;
  const auto starts = [&](std::string_view what) { return text.substr(at, what.size()) == what; };
  while (at < text.size()) {
    const char c = text[at];
    if (c == '\n') line++;
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      at++;
    } else if (starts("//")) {
      while (at < text.size() && text[at] != '\n') at++;
    } else if (starts("/*")) {
      const std::size_t end = text.find("*/", at + 2);
      if (end == std::string_view::npos) throw Error(line, "/*", "the comment has no end");
      for (; at < end + 2; at++) line += text[at] == '\n' ? 1 : 0;
    } else if (c == '"') {
      const std::size_t end = text.find('"', at + 1);
      if (end == std::string_view::npos) throw Error(line, "\"", "the string has no end");
      tokens.push_back({Token::Kind::text, std::string(text.substr(at + 1, end - at - 1)), line});
      at = end + 1;
    } else if (starts_word(c) || is_digit(c)) {
      std::size_t end = at + 1;
      while (end < text.size() && in_word(text[end])) end++;
      tokens.push_back({is_digit(c) ? Token::Kind::number : Token::Kind::word, std::string(text.substr(at, end - at)), line});
      at = end;
    } else if (std::string_view("{}()[],;:=<>|!@+-").find(c) != std::string_view::npos) {
      tokens.push_back({Token::Kind::mark, std::string(1, c), line});
      at++;
    } else {
      throw Error(line, std::string(1, c), "not a character of PTX");
    }
  }
  tokens.push_back({Token::Kind::end, "end of the text", line});
  return tokens;
}

}  // namespace leafcutter::ptx
