#include "compress/split_rules.h"

namespace leafcutter::compress {
namespace {

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

SplitRule expression(const char* text) { return {SplitRule::Kind::expression, text}; }
SplitRule digits() { return {SplitRule::Kind::digits, ""}; }

}  // namespace

std::optional<PreTokenizer> pre_tokenizer(const std::string& name) {
  if (name == "gpt-2" || name == "gpt2") return PreTokenizer{{expression(kGpt2)}, false};
  if (name == "smollm" || name == "codeshell") return PreTokenizer{{digits(), expression(kGpt2)}, false};
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") return PreTokenizer{{expression(kLlama3)}, true};
  return std::nullopt;
}

const std::string& gpt2_expression() {
  static const std::string text = kGpt2;
  return text;
}

}  // namespace leafcutter::compress
