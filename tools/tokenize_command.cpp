// leafcutter tokenize FILE [TEXT]: ids of a text, raw, nothing added; --decode for the way back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "compress/checkpoint_source.h"
#include "compress/leaf_reader.h"
#include "runtime/tokenizer.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/id_list.h"

namespace leafcutter::tools {
namespace {

struct TokenizeFlags {
  std::string file;
  std::optional<std::string> text;
  bool special = false, decode = false, lines = false;
};

runtime::Tokenizer tokenizer_of(const std::string& path) {
  const Error none(ErrorKind::unsupported, path, "has no tokenizer inside that is served yet", "give ids with --ids");
  if (compress::looks_like_checkpoint(path)) {
    compress::CheckpointSource source = compress::open_checkpoint(path);
    if (!source.tokenizer) throw none;
    return runtime::Tokenizer(std::move(*source.tokenizer), path);
  }
  const auto file = open_file(path);
  const compress::LeafIndex index = compress::read_leaf_index(*file);
  auto section = compress::read_tokenizer_section(*file, index);
  if (section.empty()) throw none;
  compress::TokenizerData data = compress::tokenizer_from_section(section, path);
  section = std::vector<std::byte>();
  return runtime::Tokenizer(std::move(data), path);
}

// Each line of stdin is a text as JSON, or a list of ids; each gives a line.
void answer_lines(const runtime::Tokenizer& tokenizer, const TokenizeFlags& flags) {
  std::uint64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const auto value = nlohmann::json::parse(line, nullptr, false);
    const std::string place = "line " + std::to_string(++number);
    if (flags.decode) {
      print_json({{"text", tokenizer.decode(parse_ids(line, place), flags.special)}});
      continue;
    }
    if (!value.is_string()) throw Error(ErrorKind::bad_file, place, "is no text in JSON");
    print_json({{"ids", tokenizer.encode(value.get_ref<const std::string&>(), flags.special)}});
  }
}

}  // namespace

RunCommand add_tokenize(CLI::App& app) {
  auto flags = std::make_shared<TokenizeFlags>();
  app.add_option("FILE", flags->file, "a .leaf or a checkpoint")->required();
  app.add_option("TEXT", flags->text, "text (default: all of stdin); with --decode: ids");
  app.add_flag("--special", flags->special, "recognise special tokens in the text, show them in decoded text");
  app.add_flag("--decode", flags->decode, "ids to text");
  app.add_flag("--lines", flags->lines, "each line of stdin is a text as JSON (with --decode: ids), each answer a line of JSON");
  return [flags](const CommonFlags& common) {
    const runtime::Tokenizer tokenizer = tokenizer_of(flags->file);
    if (flags->lines) return answer_lines(tokenizer, *flags);
    const std::string text =
        flags->text ? *flags->text : std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
    if (flags->decode) {
      const std::string decoded = tokenizer.decode(parse_ids(text, "TEXT"), flags->special);
      if (common.json)
        print_json({{"text", decoded}});
      else
        print_text(decoded);
      return;
    }
    const std::vector<std::uint32_t> ids = tokenizer.encode(text, flags->special);
    if (common.json)
      print_json({{"ids", ids}});
    else
      print_text(fmt::format("[{}]\n", fmt::join(ids, ", ")));
  };
}

}  // namespace leafcutter::tools
