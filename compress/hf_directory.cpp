#include "compress/hf_directory.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "compress/hf_config.h"
#include "compress/hf_names.h"
#include "compress/hf_tokenizer.h"
#include "compress/json_file.h"
#include "compress/printable_text.h"
#include "compress/source_check.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json document(const fs::path& path) { return is_file(path) ? read_json_file(path) : json(); }

void add_tensors(const WeightFiles& weights, CheckpointSource& source) {
  ListedWeights listed;
  for (const std::string& path : weights.files) list_tensors(path, weights.torch, listed, source.notes);
  source.files = std::move(listed.files);
  for (const WeightTensor& entry : listed.tensors) {
    const auto place = llama_hf_place(entry.name);
    const std::string name = printable_text(entry.name, 128);
    if (!place) {
      source.notes.push_back("tensor " + name +
                             (is_ignored_hf_buffer(entry.name) ? " is a buffer that is not needed" : " is not part of a LLaMA-type model") +
                             " and was left out");
      continue;
    }
    if (place->role == TensorRole::head && source.model.tied_head) {
      source.notes.push_back("tensor " + name + " was left out: the config says that the head reads the embedding");
      continue;
    }
    SourceTensor tensor = source_tensor(entry, is_vector_role(place->role), source.files[entry.file]->name());
    tensor.role = place->role;
    tensor.layer = place->layer;
    source.tensors.push_back(std::move(tensor));
  }
}

// tokenizer_config.json, with what may lie in files of its own: named tokens and the chat template.
json tokenizer_config(const fs::path& folder) {
  json config = document(folder / "tokenizer_config.json");
  if (!config.is_object()) config = json::object();
  const json named = document(folder / "special_tokens_map.json");
  for (const char* field : {"bos_token", "eos_token", "pad_token", "unk_token"})
    if (named.is_object() && named.contains(field) && (!config.contains(field) || config[field].is_null())) config[field] = named[field];
  if (!config.contains("chat_template") && is_file(folder / "chat_template.jinja"))
    config["chat_template"] = read_text_file(folder / "chat_template.jinja", TokenizerLimits::kTemplateBytes);
  return config;
}

// A piece at a time: the largest are a good part of what an import may use.
std::optional<TokenizerData> read_tokenizer(const fs::path& folder, std::vector<std::string>& notes) {
  const std::string path = (folder / "tokenizer.json").string();
  const auto file = open_file(path);
  if (file->size() > kTokenizerJsonBytes)
    throw Error(ErrorKind::bad_file, path,
                "has " + std::to_string(file->size()) + " bytes; at most " + std::to_string(kTokenizerJsonBytes) + " are read");
  const TextSource text = [&](std::uint64_t offset, std::span<char> to) {
    const std::size_t bytes = std::min<std::uint64_t>(to.size(), file->size() - std::min(offset, file->size()));
    read_exactly(*file, offset, std::as_writable_bytes(to.first(bytes)), "text");
    return bytes;
  };
  return tokenizer_from_json(text, tokenizer_config(folder), path, notes);
}

// eos_token_id is a number or a list.
std::vector<std::uint32_t> ids_of(const json& object, const char* field) {
  std::vector<std::uint32_t> ids;
  if (!object.is_object() || !object.contains(field)) return ids;
  const json list = object[field].is_array() ? object[field] : json::array({object[field]});
  for (const json& id : list)
    if (id.is_number_unsigned() && id.get<std::uint64_t>() < ~0u && ids.size() < ModelLimits::kEndIds)
      ids.push_back(id.get<std::uint32_t>());
  return ids;
}

// The tokenizer's named tokens first, then generation_config, config last: configs are often wrong about it.
void resolve_special_ids(CheckpointSource& source, const json& config, const json& generation) {
  const auto by_config = [&](const char* field) {
    const auto generated = ids_of(generation, field);
    return generated.empty() ? ids_of(config, field) : generated;
  };
  std::vector<std::uint32_t> end = by_config("eos_token_id");
  std::vector<std::uint32_t> begin = by_config("bos_token_id");
  if (source.tokenizer && source.tokenizer->end_id) {
    if (std::find(end.begin(), end.end(), *source.tokenizer->end_id) == end.end()) {
      if (!end.empty())
        source.notes.push_back("the tokenizer's end token " + std::to_string(*source.tokenizer->end_id) + " differs from the config's " +
                               std::to_string(end[0]) + ": the tokenizer's counts");
      end = {*source.tokenizer->end_id};
    }
  }
  if (source.tokenizer && source.tokenizer->begin_id) {
    if (!begin.empty() && begin[0] != *source.tokenizer->begin_id)
      source.notes.push_back("the tokenizer's begin token " + std::to_string(*source.tokenizer->begin_id) + " differs from the config's " +
                             std::to_string(begin[0]) + ": the tokenizer's counts");
    begin = {*source.tokenizer->begin_id};
  }
  std::erase_if(end, [&](std::uint32_t id) { return id >= source.model.vocab_size; });
  source.model.end_ids = end;
  if (!begin.empty() && begin[0] < source.model.vocab_size) source.model.begin_id = begin[0];
}

}  // namespace

CheckpointSource open_hf_directory(const WeightFiles& weights, const json& config) {
  CheckpointSource source;
  const fs::path folder = weights.folder;
  source.model = llama_from_hf_config(config, weights.config);
  if (source.model.name.empty())
    source.model.name =
        printable_text((folder.has_filename() ? folder.filename() : folder.parent_path().filename()).string(), ModelLimits::kNameBytes);
  add_tensors(weights, source);
  // The rows that are there count: fine-tuned models grow their vocabulary and forget the config.
  for (const SourceTensor& tensor : source.tensors)
    if (tensor.role == TensorRole::embedding && tensor.rows != source.model.vocab_size && tensor.rows <= ModelLimits::kVocabulary) {
      source.notes.push_back("the embedding has " + std::to_string(tensor.rows) + " rows, the config says " +
                             std::to_string(source.model.vocab_size) + ": the rows count");
      source.model.vocab_size = static_cast<std::uint32_t>(tensor.rows);
    }
  if (is_file(folder / "tokenizer.json"))
    source.tokenizer = read_tokenizer(folder, source.notes);
  else
    source.notes.push_back("no tokenizer.json: the model runs on ids");
  resolve_special_ids(source, config, document(folder / "generation_config.json"));
  source.model.source =
      printable_text((weights.torch ? "PyTorch: " : "safetensors: ") + folder.filename().string(), ModelLimits::kSourceBytes);
  validate(source.model, weights.config);
  check_source_tensors(source, folder.string());
  return source;
}

}  // namespace leafcutter::compress
