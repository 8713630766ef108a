#include "compress/ant_vocabulary.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

constexpr std::array<std::string_view, 7> kSpecials = {"<pad>", "<mask>", "<sep>", "<s>", "</s>", "<d>", "</d>"};

// Takes the first line off.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
  const std::string_view line = text.substr(0, end), rest = text.substr(end);
  text = rest.substr(rest.starts_with("\r\n") ? 2 : rest.empty() ? 0 : 1);
  return line;
}

TokenKind kind_of(std::string_view token) {
  if (token == "<unk>") return TokenKind::unknown;
  return std::find(kSpecials.begin(), kSpecials.end(), token) != kSpecials.end() ? TokenKind::special : TokenKind::normal;
}

}  // namespace

TokenizerData ant_vocabulary(std::string_view text, std::shared_ptr<const WordDictionary> dictionary, std::uint32_t vocab_size,
                             const std::string& file, std::vector<std::string>& notes) {
  TokenizerData data;
  data.kind = TokenizerKind::longest_match;
  data.dictionary = std::move(dictionary);
  std::unordered_map<std::string_view, std::uint32_t> ids;
  std::size_t empty_line = 0;
  for (std::size_t line = 1; !text.empty(); line++) {
    const std::string_view token = next_line(text);
    const auto refuse = [&](const std::string& problem) {
      throw Error(ErrorKind::bad_file, file + ", line " + std::to_string(line), problem, "remove the file to run on ids");
    };
    if (token.empty()) {  // those at the end count for nothing
      if (empty_line == 0) empty_line = line;
      continue;
    }
    if (empty_line != 0) refuse("line " + std::to_string(empty_line) + " before it is empty: ids of tokens are the numbers of their lines");
    if (data.tokens.size() == std::min<std::size_t>(vocab_size, TokenizerLimits::kTokens))
      refuse("more lines than the model's " + std::to_string(vocab_size) + " tokens");
    if (token.size() > TokenizerLimits::kTokenBytes) refuse("a token of " + std::to_string(token.size()) + " bytes");
    if (!is_utf8(token)) refuse("is no UTF-8");
    const auto [twin, is_new] = ids.emplace(token, static_cast<std::uint32_t>(line - 1));
    if (!is_new) refuse("\"" + printable_text(token, 40) + "\" is on line " + std::to_string(twin->second + 1) + " too");
    data.tokens.emplace_back(token);
    data.kinds.push_back(kind_of(token));
  }
  const auto id_of = [&](std::string_view token) {
    const auto found = ids.find(token);
    if (found == ids.end())
      throw Error(ErrorKind::bad_file, file, "has no token " + std::string(token) + ": not a vocabulary of CPM-Ant",
                  "remove the file to run on ids");
    return found->second;
  };
  data.begin_id = id_of("<s>");
  data.end_id = id_of("</s>");
  data.unknown_id = id_of("<unk>");
  if (const auto pad = ids.find("<pad>"); pad != ids.end()) data.pad_id = pad->second;
  data.add_begin = true;
  // A token that is a space as it stands loses its text to </_>, as in CPM-Live.
  if (const auto space = ids.find(" "); space != ids.end()) data.kinds[space->second] = TokenKind::unused;
  data.tokens[id_of("</_>")] = " ";
  data.tokens[id_of("</n>")] = "\n";
  if (data.tokens.size() < vocab_size)
    notes.push_back(file + " has " + std::to_string(data.tokens.size()) + " tokens, the model " + std::to_string(vocab_size) +
                    ": the rows behind them are never generated");
  return data;
}

}  // namespace leafcutter::compress
