#include "compress/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "compress/json_file.h"
#include "compress/printable_text.h"
#include "compress/safetensors_header.h"
#include "compress/torch_checkpoint.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kShards = 4096;
constexpr std::size_t kIndexBytes = 8u << 20;

// What trainers leave beside the weights under names that look like weights.
constexpr const char* kNoWeights[] = {"training_args.bin", "optimizer.pt",  "optimizer.bin", "scheduler.pt",
                                      "scheduler.bin",     "rng_state.pth", "scaler.pt",     kMasksFile};

// The shards that an index names, each once.
std::vector<std::string> shards_of(const fs::path& index, const char* ending) {
  const json root = read_json_file(index, kIndexBytes);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object() || root["weight_map"].empty())
    throw Error(ErrorKind::bad_file, index.string(), "has no weight_map");
  std::set<std::string> names;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || name.find('\0') != std::string::npos || name == "." || name == ".." ||
        !name.ends_with(ending))
      throw Error(ErrorKind::bad_file, index.string() + ", tensor " + printable_text(tensor, 128),
                  "its shard \"" + printable_text(name, 60) + "\" is no " + (ending + 1) + " file of this folder");
    names.insert(name);
    if (names.size() > kShards) throw Error(ErrorKind::bad_file, index.string(), "more than " + std::to_string(kShards) + " shards");
  }
  std::vector<std::string> files;
  for (const std::string& name : names) files.push_back((index.parent_path() / name).string());
  return files;
}

bool may_be_weights(const fs::path& path) {
  const std::string name = path.filename().string();
  return (name.ends_with(".pt") || name.ends_with(".bin")) && is_file(path) &&
         std::none_of(std::begin(kNoWeights), std::end(kNoWeights), [&](const char* other) { return name == other; });
}

std::optional<fs::path> largest_torch_file(const fs::path& folder, std::vector<std::string>& notes) {
  struct Candidate {
    std::uintmax_t bytes;
    fs::path path;
  };
  std::vector<Candidate> found;
  std::error_code problem;
  for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem))
    if (may_be_weights(at->path())) {
      std::error_code ignored;
      const std::uintmax_t bytes = fs::file_size(at->path(), ignored);
      found.push_back({ignored ? 0 : bytes, at->path()});
    }
  if (found.empty()) return std::nullopt;
  std::sort(found.begin(), found.end(),
            [](const Candidate& a, const Candidate& b) { return a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path; });
  // Without a config for all, a file that has its own goes before one that has none.
  if (!is_file(folder / "config.json"))
    std::stable_partition(found.begin(), found.end(),
                          [](const Candidate& c) { return is_file(fs::path(c.path).replace_extension(".json")); });
  if (found.size() > 1)
    notes.push_back("of " + std::to_string(found.size()) +
                    " .pt and .bin files the largest was taken: " + printable_text(found[0].path.filename().string(), 128));
  return found[0].path;
}

void choose_files(const fs::path& folder, WeightFiles& weights, std::vector<std::string>& notes) {
  if (is_file(folder / "model.safetensors")) {
    weights.files = {(folder / "model.safetensors").string()};
  } else if (is_file(folder / "model.safetensors.index.json")) {
    weights.files = shards_of(folder / "model.safetensors.index.json", ".safetensors");
  } else if (is_file(folder / "pytorch_model.bin")) {
    weights.files = {(folder / "pytorch_model.bin").string()};
    weights.torch = true;
  } else if (is_file(folder / "pytorch_model.bin.index.json")) {
    weights.files = shards_of(folder / "pytorch_model.bin.index.json", ".bin");
    weights.torch = true;
  } else if (const auto file = largest_torch_file(folder, notes)) {
    weights.files = {file->string()};
    weights.torch = true;
  }
}

std::optional<quant::SourceType> float_type(const std::string& dtype) {
  if (dtype == "F32") return quant::SourceType::f32;
  if (dtype == "F16") return quant::SourceType::f16;
  if (dtype == "BF16") return quant::SourceType::bf16;
  if (dtype == "F64") return quant::SourceType::f64;
  return std::nullopt;
}

std::vector<SafetensorsEntry> safetensors_entries(File& file) {
  std::byte first[8];
  if (file.size() < sizeof first)
    throw Error(ErrorKind::bad_file, file.name(), "has " + std::to_string(file.size()) + " bytes, no header", "is the download complete?");
  read_exactly(file, 0, first, "length of the header");
  std::vector<std::byte> header(safetensors_header_bytes(first, file.size(), file.name()));
  read_exactly(file, sizeof first, header, "header");
  return parse_safetensors_header(header, file.size(), file.name());
}

}  // namespace

WeightFiles find_weights(const std::string& path, std::vector<std::string>& notes) {
  std::error_code ignored;
  WeightFiles weights;
  if (fs::is_directory(path, ignored)) {
    weights.folder = path;
    choose_files(path, weights, notes);
  } else {
    weights.folder = fs::path(path).parent_path().string();
    weights.files = {path};
    weights.torch = !path.ends_with(".safetensors");
  }
  const fs::path config = fs::path(weights.folder) / "config.json";
  weights.config = config.string();
  if (!is_file(config)) {
    if (weights.files.size() == 1) weights.config = fs::path(weights.files[0]).replace_extension(".json").string();
    if (!is_file(weights.config))
      throw Error(ErrorKind::not_found, config.string(), "there is none",
                  "give a Hugging Face folder, a checkpoint beside its config or a .gguf");
  }
  if (weights.files.empty())
    throw Error(ErrorKind::not_found, weights.folder,
                "holds no weights: no model.safetensors, pytorch_model.bin (or .index.json of either), *.pt or *.bin",
                "give a Hugging Face folder or a .gguf");
  return weights;
}

bool is_contiguous(const WeightTensor& tensor) {
  if (tensor.strides.empty()) return true;
  std::uint64_t stride = 1;  // the product of the sizes is bounded by the storage, or one is repeated and a stride differs
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] == 1) continue;
    if (tensor.strides[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

void list_tensors(const std::string& path, bool torch, ListedWeights& all, std::vector<std::string>& notes) {
  const std::shared_ptr<File> file = open_file(path);
  const std::size_t index = all.files.size();
  all.files.push_back(file);
  const auto add = [&](auto& from, std::optional<quant::SourceType> type, std::vector<std::uint64_t> strides) {
    all.tensors.push_back({.name = std::move(from.name),
                           .file = index,
                           .type = type,
                           .dtype = from.dtype,
                           .shape = std::move(from.shape),
                           .strides = std::move(strides),
                           .offset = from.offset});
  };
  if (torch) {
    TorchCheckpoint checkpoint = read_torch_checkpoint(*file);
    for (TorchTensor& tensor : checkpoint.tensors) add(tensor, tensor.type, std::move(tensor.strides));
    for (std::string& note : checkpoint.notes) notes.push_back(std::move(note));
  } else {
    for (SafetensorsEntry& entry : safetensors_entries(*file)) add(entry, float_type(entry.dtype), {});
  }
}

SourceTensor source_tensor(const WeightTensor& tensor, bool vector, const std::string& file) {
  const std::string name = printable_text(tensor.name, 128), place = file + ", tensor " + name;
  if (!tensor.type)
    throw Error(ErrorKind::unsupported, place, "dtype " + printable_text(tensor.dtype, 16) + " is not served",
                tensor.strides.empty() ? "F32, F16, BF16 and F64 are" : "Float, Half, BFloat16 and Double are");
  if (tensor.shape.size() != (vector ? 1 : 2))
    throw Error(ErrorKind::bad_file, place, "has " + std::to_string(tensor.shape.size()) + " dimensions, expected " + (vector ? "1" : "2"));
  if (std::find(tensor.shape.begin(), tensor.shape.end(), 0u) != tensor.shape.end())
    throw Error(ErrorKind::bad_file, place, "has no elements");
  SourceTensor source;
  source.name = name;
  source.file = tensor.file;
  source.offset = tensor.offset;
  source.type = *tensor.type;
  source.rows = vector ? 1 : tensor.shape[0];
  source.k = tensor.shape.back();
  if (!tensor.strides.empty()) {
    // The step along a dimension of one element is never taken, and may be anything.
    const std::uint64_t column = source.k == 1 ? 1 : tensor.strides.back();
    const std::uint64_t row = source.rows == 1 ? source.k : tensor.strides[0];
    if (column != 1 || row != source.k) source.strides = SourceStrides{.row = row, .column = column};
  }
  return source;
}

}  // namespace leafcutter::compress
