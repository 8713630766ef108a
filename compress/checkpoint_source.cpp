#include "compress/checkpoint_source.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "compress/cpm_ant_config.h"
#include "compress/cpm_ant_directory.h"
#include "compress/gguf_model.h"
#include "compress/hf_directory.h"
#include "compress/jieba_folder.h"
#include "compress/json_file.h"
#include "compress/printable_text.h"
#include "compress/source_check.h"
#include "compress/torch_checkpoint.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;

bool begins_with_gguf(File& file) {
  std::byte magic[4];
  if (file.size() < sizeof magic) return false;
  read_exactly(file, 0, magic, "magic");
  return std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

bool has_checkpoint_ending(const std::string& path) {
  return path.ends_with(".safetensors") || path.ends_with(".pt") || path.ends_with(".bin");
}

CheckpointSource open_gguf(const std::string& path, std::shared_ptr<File> file) {
  // The header tells its length only by being read: twice as much each time.
  std::vector<std::byte> bytes;
  std::optional<GgufHeader> header;
  for (std::uint64_t size = 256u << 10; !header; size *= 2) {
    const std::uint64_t read = std::min({size, file->size(), std::uint64_t{GgufLimits::kHeaderBytes}});
    bytes = std::vector<std::byte>();  // gives the memory back, which `= {}` does not
    bytes.resize(read);
    read_exactly(*file, 0, bytes, "header");
    header = GgufHeader::parse(bytes, file->size(), path);
    if (!header && read == GgufLimits::kHeaderBytes)
      throw Error(ErrorKind::bad_file, path, "its header goes on past " + std::to_string(GgufLimits::kHeaderBytes) + " bytes");
  }
  std::vector<float> factors;
  if (const GgufTensor* tensor = rope_frequencies_tensor(*header)) {
    if (tensor->type != quant::SourceType::f32 || tensor->shape.size() != 1 || tensor->shape[0] > ModelLimits::kHeadDim)
      throw Error(ErrorKind::bad_file, path + ", tensor rope_freqs.weight", "expected a vector of F32");
    factors.resize(tensor->shape[0]);
    read_exactly(*file, tensor->offset, std::as_writable_bytes(std::span(factors)), "tensor rope_freqs.weight");
  }
  CheckpointSource source = llama_from_gguf(*header, std::move(factors));
  source.files.push_back(std::move(file));
  source.tokenizer = tokenizer_from_gguf(*header, source.notes);
  if (source.tokenizer && source.tokenizer->end_id) source.model.end_ids = {*source.tokenizer->end_id};
  if (source.tokenizer && source.tokenizer->begin_id) source.model.begin_id = source.tokenizer->begin_id;
  std::erase_if(source.model.end_ids, [&](std::uint32_t id) { return id >= source.model.vocab_size; });
  if (source.model.begin_id && *source.model.begin_id >= source.model.vocab_size) source.model.begin_id.reset();
  source.model.source = printable_text("GGUF: " + fs::path(path).filename().string(), ModelLimits::kSourceBytes);
  validate(source.model, path);
  check_source_tensors(source, path);
  return source;
}

// A flag that would do nothing is an error.
void refuse_cpm_ant_options(const CheckpointOptions& options) {
  for (const auto& [given, flag] : {std::pair{options.uncut_divisors, "--divisors uncut"}, {!options.jieba_folder.empty(), "--jieba"}})
    if (given) throw Error(ErrorKind::unsupported, flag, "the model is no CPM-Ant", "leave the flag out");
}

}  // namespace

CheckpointSource open_checkpoint(const std::string& path, const CheckpointOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    auto file = open_file(path);
    if (begins_with_gguf(*file)) {
      refuse_cpm_ant_options(options);
      return open_gguf(path, std::move(file));
    }
    if (!has_checkpoint_ending(path) && !looks_like_torch(*file))
      throw Error(ErrorKind::unsupported, path, "is neither GGUF nor safetensors nor a PyTorch checkpoint",
                  "give a .gguf, a .safetensors, .pt or .bin file or a model's folder");
  }
  std::vector<std::string> notes;
  const WeightFiles weights = find_weights(path, notes);
  const nlohmann::json config = read_json_file(weights.config);
  const bool cpm_ant = is_cpm_ant_config(config);
  if (!cpm_ant) refuse_cpm_ant_options(options);
  CheckpointSource source = cpm_ant ? open_cpm_ant(weights, config, options) : open_hf_directory(weights, config);
  source.notes.insert(source.notes.begin(), notes.begin(), notes.end());
  return source;
}

std::vector<std::string> files_of_checkpoint(const std::string& path, const CheckpointOptions& options) {
  std::error_code ignored;
  const bool folder = fs::is_directory(path, ignored);
  std::vector<std::string> files;
  if (!folder) {
    files.push_back(path);
    if (begins_with_gguf(*open_file(path))) return files;
  }
  fs::path beside = folder ? fs::path(path) : fs::path(path).parent_path();
  if (beside.empty()) beside = ".";
  std::error_code problem;
  for (fs::directory_iterator at(beside, problem), end; !problem && at != end; at.increment(problem)) {
    const std::string name = at->path().filename().string();
    const bool side = name.ends_with(".json") || name.ends_with(".txt") || name.ends_with(".jinja") || name == kMasksFile;
    if ((side || (folder && has_checkpoint_ending(name))) && is_file(at->path())) files.push_back(at->path().string());
  }
  if (problem) throw Error(ErrorKind::io, beside.string(), "cannot list the folder: " + problem.message());
  if (is_file(beside / "ant.txt") || is_file(beside / "vocab.txt"))
    for (std::string& file : jieba_files(options.jieba_folder)) files.push_back(std::move(file));
  std::sort(files.begin(), files.end());
  return files;
}

bool looks_like_checkpoint(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return true;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (has_checkpoint_ending(path)) return true;
  try {
    const auto file = open_file(path);
    return begins_with_gguf(*file) || looks_like_torch(*file);
  } catch (const Error&) { return false; }
}

}  // namespace leafcutter::compress
