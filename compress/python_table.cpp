#include "compress/python_table.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {

PythonTable::PythonTable(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {
  constexpr std::string_view kFuture = "from __future__ import ";
  skip_space();
  while (text_.substr(at_).starts_with(kFuture)) {
    at_ = std::min(text_.find('\n', at_), text_.size());
    skip_space();
  }
  expect('P');
  expect('=');
}

void PythonTable::refuse(const std::string& problem) const {
  const auto line = std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size())), '\n') + 1;
  throw Error(ErrorKind::bad_file, file_ + ", line " + std::to_string(line), problem);
}

void PythonTable::skip_space() {
  constexpr std::string_view kSpaces = " \t\r\n\f";
  while (at_ < text_.size()) {
    if (text_[at_] == '#')
      at_ = std::min(text_.find('\n', at_), text_.size());
    else if (kSpaces.find(text_[at_]) != std::string_view::npos)
      at_++;
    else
      return;
  }
}

char PythonTable::peek() {
  skip_space();
  return at_ < text_.size() ? text_[at_] : '\0';
}

void PythonTable::expect(char c) {
  if (peek() != c || at_ == text_.size()) {
    const std::string found = at_ == text_.size() ? "the end" : "\"" + printable_text(text_.substr(at_, 16), 16) + "\"";
    refuse(std::string("expected ") + c + ", found " + found + ": not a plain table");
  }
  at_++;
}

bool PythonTable::next_item(bool first) {
  if (!first && peek() != '}') expect(',');
  if (peek() != '}') return true;
  at_++;
  return false;
}

double PythonTable::number() {
  skip_space();
  double value = 0;
  const char* const begin = text_.data() + at_;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  const bool names = end != text_.data() + text_.size() && (std::isalnum(static_cast<unsigned char>(*end)) != 0 || *end == '_');
  if (error != std::errc() || names) refuse("expected a number, found \"" + printable_text(text_.substr(at_, 16), 16) + "\"");
  at_ += static_cast<std::size_t>(end - begin);
  return value;
}

void PythonTable::end() {
  if (peek() != '\0' || at_ != text_.size()) refuse("something follows the table");
}

std::string PythonTable::string() {
  if (peek() == 'u' && at_ + 1 < text_.size()) at_++;  // u'' is '' to Python
  const char quote = peek();
  if (quote != '\'' && quote != '"') refuse("expected a key in quotes: not a plain table");
  at_++;
  std::string out;
  for (;;) {
    if (at_ == text_.size() || text_[at_] == '\n') refuse("a key does not end");
    const char c = text_[at_++];
    if (c == quote) break;
    if (c == '\\')
      escape(out);
    else
      out += c;
    if (out.size() > kKeyBytes) refuse("a key of more than " + std::to_string(kKeyBytes) + " bytes");
  }
  if (!is_utf8(out)) refuse("a key is no UTF-8");
  return out;
}

void PythonTable::escape(std::string& out) {
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  if (c == '\\' || c == '\'' || c == '"') {
    out += c;
    return;
  }
  std::uint32_t code = 0;
  const std::string_view digits = text_.substr(at_, 4);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (c != 'u' || digits.size() != 4 || error != std::errc() || end != digits.data() + 4) refuse("an escape that is not known");
  at_ += 4;
  // A surrogate becomes bytes that are no UTF-8, and the key is refused.
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

}  // namespace leafcutter::compress
