#include "compress/split_rules.h"

namespace leafcutter::compress {
namespace {

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// DeepSeek's: line breaks, words of cased letters, punctuation, spaces at the end of what is left, Chinese and Korean, digits one by one.
constexpr const char* kDeepSeek[] = {
    R"([\r\n])",
    R"(\s?[)"
    R"(\x{41}-\x{5a}\x{61}-\x{7a}\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{37)"
    R"(3}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{)"
    R"(531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77)"
    R"(}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{)"
    R"(1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe)"
    R"(0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{)"
    R"(212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4)"
    R"(}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x)"
    R"({abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb)"
    R"(}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943})"
    R"(]+)",
    R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)", R"(\s+$)",
    R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)"};

// Unicode's White_Space: PCRE2's \s has U+180E beside these, which has not been white space since Unicode 6.3.
constexpr const char* kSpace = "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
constexpr const char* kNoSpace =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}"
    "-\\x{205e}"
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";
// Alphabetic, marks, decimal digits, connectors (UTS 18). The ranges are the letters among Unicode's symbols.
constexpr const char* kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";

// Walks over an expression of Oniguruma and writes the same for PCRE2.
class ExpressionWriter {
 public:
  explicit ExpressionWriter(std::string_view text) : text_(text) {}

  std::optional<std::string> write() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\\') {
        if (!escape(false)) return std::nullopt;
      } else if (c == '[') {
        if (!character_class()) return std::nullopt;
      } else if (text_.substr(at_).starts_with("(?")) {
        if (!group()) return std::nullopt;
      } else {
        lines_ = lines_ || c == '^' || c == '$';
        copy(1);
      }
    }
    return lines_ ? "(?m)" + out_ : out_;
  }

 private:
  void copy(std::size_t count) {
    out_ += text_.substr(at_, count);
    at_ += count;
  }

  bool escape(bool within_class) {
    if (at_ + 1 >= text_.size()) return false;
    const auto put = [&](const char* set, bool negated) {
      out_ += within_class ? std::string(set) : (negated ? "[^" : "[") + std::string(set) + "]";
      at_ += 2;
      return true;
    };
    switch (text_[at_ + 1]) {
      case 's':
        return put(kSpace, false);
      case 'S':
        return within_class ? put(kNoSpace, false) : put(kSpace, true);
      case 'w':
        return put(kWord, false);
      case 'W':
        return !within_class && put(kWord, true);
      case 'h':
        return put("0-9a-fA-F", false);
      case 'H':
        return !within_class && put("0-9a-fA-F", true);
      default:
        copy(2);
        return true;
    }
  }

  bool character_class() {
    copy(1);
    if (at_ < text_.size() && text_[at_] == '^') copy(1);
    for (bool first = true; at_ < text_.size(); first = false) {
      const std::string_view rest = text_.substr(at_);
      if (rest[0] == ']' && !first) return copy(1), true;
      if (rest[0] == '\\') {
        if (!escape(true)) return false;
      } else if (rest.starts_with("[:")) {
        const std::size_t end = rest.find(":]");
        if (end == std::string_view::npos) return false;
        copy(end + 2);
      } else if (rest[0] == '[' || rest.starts_with("&&")) {
        return false;
      } else {
        copy(1);
      }
    }
    return false;
  }

  // (?:  (?=  (?!  (?<...  (?>  and (?i...): the other letters mean something else to Ruby.
  bool group() {
    std::size_t end = at_ + 2;
    while (end < text_.size() && (text_[end] == 'i' || text_[end] == 'x' || text_[end] == '-')) end++;
    if (end == text_.size() || std::string_view(":=!<>)#").find(text_[end]) == std::string_view::npos) return false;
    copy(end + 1 - at_);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  bool lines_ = false;
};

SplitRule expression(const char* text) { return {SplitRule::Kind::expression, split_expression(text).value()}; }
SplitRule digits() { return {SplitRule::Kind::digits, ""}; }

}  // namespace

std::optional<PreTokenizer> pre_tokenizer(const std::string& name) {
  if (name == "gpt-2" || name == "gpt2") return PreTokenizer{{expression(kGpt2)}, false};
  if (name == "smollm" || name == "codeshell") return PreTokenizer{{digits(), expression(kGpt2)}, false};
  if (name == "deepseek-llm") {
    PreTokenizer deepseek;
    for (const char* text : kDeepSeek) deepseek.splits.push_back(expression(text));
    deepseek.splits.push_back(digits());
    return deepseek;
  }
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") return PreTokenizer{{expression(kLlama3)}, true};
  return std::nullopt;
}

std::optional<std::string> split_expression(std::string_view oniguruma) { return ExpressionWriter(oniguruma).write(); }

std::string word_character_expression() { return "[" + std::string(kWord) + "\\x{200c}\\x{200d}]"; }

const std::string& gpt2_expression() {
  static const std::string text = expression(kGpt2).expression;
  return text;
}

}  // namespace leafcutter::compress
