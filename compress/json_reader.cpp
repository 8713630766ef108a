#include "compress/json_reader.h"

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace leafcutter::compress {
namespace {

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6), put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 0x3f)), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

void JsonReader::refuse(const std::string& problem) const {
  throw Error(ErrorKind::bad_file, where_ + (path_.empty() ? "" : ", " + path_.substr(1)) + ", byte " + std::to_string(at_), problem);
}

void JsonReader::refuse_unknown(const std::string& key) const {
  throw Error(ErrorKind::unsupported, where_ + ", byte " + std::to_string(at_),
              "field \"" + printable_text(key, 64) + "\" is not known to this program", "a later version may read it");
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) at_++;
}

char JsonReader::peek() {
  skip_space();
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonReader::expect(char c) {
  if (peek() != c || at_ == text_.size()) refuse(std::string("expected '") + c + "'" + (at_ == text_.size() ? ", the text ends" : ""));
  at_++;
}

// Is there an item before the closing bracket? Takes the comma between items, or the bracket.
bool JsonReader::next_item(bool first, char closing) {
  if (peek() == closing) {
    at_++;
    return false;
  }
  if (!first) expect(',');
  return true;
}

bool JsonReader::boolean() {
  peek();
  const std::string_view rest = text_.substr(at_);
  if (rest.starts_with("true")) {
    at_ += 4;
    return true;
  }
  if (!rest.starts_with("false")) refuse("expected true or false");
  at_ += 5;
  return false;
}

// The longest text that follows JSON's grammar of numbers.
std::string_view JsonReader::number_text() {
  peek();
  std::size_t end = at_;
  const auto digits = [&] {
    const std::size_t before = end;
    while (end < text_.size() && is_digit(text_[end])) end++;
    return end > before;
  };
  const auto take = [&](char c) { return end < text_.size() && text_[end] == c ? (end++, true) : false; };
  take('-');
  const std::size_t whole = end;
  if (!digits()) refuse("expected a number");
  if (text_[whole] == '0' && end > whole + 1) refuse("a number begins with 0");
  if (take('.') && !digits()) refuse("a number ends with its point");
  if (take('e') || take('E')) {
    if (!take('-')) take('+');
    if (!digits()) refuse("a number ends in its exponent");
  }
  return text_.substr(at_, end - at_);
}

std::uint64_t JsonReader::whole_number(std::uint64_t limit) {
  const std::string_view text = number_text();
  std::uint64_t value = 0;
  const auto [after, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || after != text.data() + text.size() || value > limit)
    refuse(std::string(text.substr(0, 24)) + " is no whole number up to " + std::to_string(limit));
  at_ += text.size();
  return value;
}

double JsonReader::number() {
  const std::string_view text = number_text();
  double value = 0;
  const auto [after, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || after != text.data() + text.size() || !std::isfinite(value))
    refuse(std::string(text.substr(0, 24)) + " is out of range");
  at_ += text.size();
  return value;
}

std::uint32_t JsonReader::hex4() {
  if (text_.size() - at_ < 4) refuse("the text ends within \\u");
  std::uint32_t code = 0;
  const auto [after, problem] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, code, 16);
  if (problem != std::errc{} || after != text_.data() + at_ + 4) refuse("\\u without four hexadecimal digits");
  at_ += 4;
  return code;
}

// What follows a backslash.
void JsonReader::append_escape(std::string& out) {
  constexpr std::string_view kShort = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
  if (at_ == text_.size()) refuse("the text ends within a string");
  const char c = text_[at_++];
  if (const std::size_t i = kShort.find(c); i != std::string_view::npos) {
    out += kMeaning[i];
    return;
  }
  if (c != 'u') refuse("a backslash before something that needs none");
  std::uint32_t code = hex4();
  if (code >= 0xdc00 && code < 0xe000) refuse("half of a surrogate pair");
  if (code >= 0xd800 && code < 0xdc00) {
    if (!text_.substr(at_).starts_with("\\u")) refuse("half of a surrogate pair");
    at_ += 2;
    const std::uint32_t low = hex4();
    if (low < 0xdc00 || low >= 0xe000) refuse("half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(out, code);
}

std::string JsonReader::string(std::size_t limit) {
  expect('"');
  std::string out;
  for (;;) {
    if (at_ == text_.size()) refuse("the text ends within a string");
    const char c = text_[at_++];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) refuse("a control character within a string");
    if (c == '\\')
      append_escape(out);
    else
      out += c;
    if (out.size() > limit) refuse("a string longer than " + std::to_string(limit) + " bytes");
  }
  if (!is_utf8(out)) refuse("a string that is no UTF-8");
  return out;
}

void JsonReader::end() {
  if (peek() != '\0' || at_ < text_.size()) refuse("something follows the end");
}

}  // namespace leafcutter::compress
