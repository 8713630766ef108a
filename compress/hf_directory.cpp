#include "compress/hf_directory.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "compress/hf_config.h"
#include "compress/hf_names.h"
#include "compress/hf_tokenizer.h"
#include "compress/json_document.h"
#include "compress/printable_text.h"
#include "compress/safetensors_header.h"
#include "compress/source_check.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kShards = 4096;
constexpr std::size_t kIndexBytes = 8u << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string content(const fs::path& path, std::size_t limit) {
  const auto file = open_file(path.string());
  if (file->size() > limit)
    throw Error(ErrorKind::bad_file, path.string(),
                "has " + std::to_string(file->size()) + " bytes; at most " + std::to_string(limit) + " are read");
  std::string text(file->size(), '\0');
  read_exactly(*file, 0, std::as_writable_bytes(std::span(text)), "text");
  return text;
}

json document(const fs::path& path) {
  return is_file(path) ? parse_json_document(content(path, kJsonDocumentBytes), path.string()) : json();
}

// The files that hold weights, in order of name.
std::vector<fs::path> weight_files(const fs::path& folder) {
  if (is_file(folder / "model.safetensors")) return {folder / "model.safetensors"};
  const fs::path index = folder / "model.safetensors.index.json";
  if (!is_file(index)) {
    if (is_file(folder / "pytorch_model.bin") || is_file(folder / "pytorch_model.bin.index.json"))
      throw Error(ErrorKind::unsupported, folder.string(), "holds PyTorch .bin files, which are not read yet", "convert it to safetensors");
    throw Error(ErrorKind::not_found, folder.string(), "holds no model.safetensors and no model.safetensors.index.json",
                "give a Hugging Face folder or a .gguf");
  }
  const json root = parse_json_document(content(index, kIndexBytes), index.string(), kIndexBytes);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object() || root["weight_map"].empty())
    throw Error(ErrorKind::bad_file, index.string(), "has no weight_map");
  std::set<std::string> names;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name == "." || name == ".." ||
        !name.ends_with(".safetensors"))
      throw Error(ErrorKind::bad_file, index.string() + ", tensor " + printable_text(tensor, 128),
                  "its shard \"" + printable_text(name, 60) + "\" is no safetensors file of this folder");
    names.insert(name);
    if (names.size() > kShards) throw Error(ErrorKind::bad_file, index.string(), "more than " + std::to_string(kShards) + " shards");
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(folder / name);
  return files;
}

std::optional<quant::SourceType> float_type(const std::string& dtype) {
  if (dtype == "F32") return quant::SourceType::f32;
  if (dtype == "F16") return quant::SourceType::f16;
  if (dtype == "BF16") return quant::SourceType::bf16;
  if (dtype == "F64") return quant::SourceType::f64;
  return std::nullopt;
}

void add_tensors(const fs::path& path, CheckpointSource& source) {
  const auto file = open_file(path.string());
  std::byte first[8];
  if (file->size() < sizeof first)
    throw Error(ErrorKind::bad_file, path.string(), "has " + std::to_string(file->size()) + " bytes, no header",
                "is the download complete?");
  read_exactly(*file, 0, first, "length of the header");
  std::vector<std::byte> header(safetensors_header_bytes(first, file->size(), path.string()));
  read_exactly(*file, sizeof first, header, "header");
  const std::size_t index = source.files.size();
  source.files.push_back(file);
  for (const SafetensorsEntry& entry : parse_safetensors_header(header, file->size(), path.string())) {
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
    const auto type = float_type(entry.dtype);
    if (!type)
      throw Error(ErrorKind::unsupported, path.string() + ", tensor " + name, "dtype " + printable_text(entry.dtype, 16) + " is not served",
                  "F32, F16, BF16 and F64 are");
    const bool vector = is_vector_role(place->role);
    if (entry.shape.size() != (vector ? 1 : 2) || entry.bytes == 0)
      throw Error(ErrorKind::bad_file, path.string() + ", tensor " + name,
                  "has " + std::to_string(entry.shape.size()) + " dimensions, expected " + (vector ? "1" : "2"));
    SourceTensor tensor;
    tensor.role = place->role;
    tensor.layer = place->layer;
    tensor.name = name;
    tensor.file = index;
    tensor.offset = entry.offset;
    tensor.type = *type;
    tensor.rows = vector ? 1 : entry.shape[0];
    tensor.k = entry.shape.back();
    source.tensors.push_back(std::move(tensor));
  }
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

CheckpointSource open_hf_directory(const std::string& path) {
  std::error_code ignored;
  const bool one_file = !fs::is_directory(path, ignored);
  const fs::path folder = one_file ? fs::path(path).parent_path() : fs::path(path);
  const fs::path config_path = folder / "config.json";
  if (!is_file(config_path))
    throw Error(ErrorKind::not_found, config_path.string(), "there is none", "give a Hugging Face folder or a .gguf");
  const json config = parse_json_document(content(config_path, kJsonDocumentBytes), config_path.string());

  CheckpointSource source;
  source.model = llama_from_hf_config(config, config_path.string());
  if (source.model.name.empty())
    source.model.name =
        printable_text((folder.has_filename() ? folder.filename() : folder.parent_path().filename()).string(), ModelLimits::kNameBytes);
  for (const fs::path& file : one_file ? std::vector<fs::path>{path} : weight_files(folder)) add_tensors(file, source);
  // The rows that are there count: fine-tuned models grow their vocabulary and forget the config.
  for (const SourceTensor& tensor : source.tensors)
    if (tensor.role == TensorRole::embedding && tensor.rows != source.model.vocab_size && tensor.rows <= ModelLimits::kVocabulary) {
      source.notes.push_back("the embedding has " + std::to_string(tensor.rows) + " rows, the config says " +
                             std::to_string(source.model.vocab_size) + ": the rows count");
      source.model.vocab_size = static_cast<std::uint32_t>(tensor.rows);
    }
  const json tokenizer_config = document(folder / "tokenizer_config.json");
  if (is_file(folder / "tokenizer.json"))
    source.tokenizer = tokenizer_from_json(content(folder / "tokenizer.json", kTokenizerJsonBytes), tokenizer_config,
                                           (folder / "tokenizer.json").string(), source.notes);
  else
    source.notes.push_back("no tokenizer.json: the model runs on ids");
  resolve_special_ids(source, config, document(folder / "generation_config.json"));
  source.model.source = printable_text("safetensors: " + folder.filename().string(), ModelLimits::kSourceBytes);
  validate(source.model, config_path.string());
  check_source_tensors(source, folder.string());
  return source;
}

}  // namespace leafcutter::compress
