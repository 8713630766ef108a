#include "compress/cpm_ant_directory.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "compress/ant_tokenizer.h"
#include "compress/cpm_ant_model.h"
#include "compress/json_document.h"
#include "compress/json_file.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kShards = 4096;
constexpr std::size_t kIndexBytes = 8u << 20;
constexpr const char* kMasks = "masks.pt";

std::vector<fs::path> shards_of(const fs::path& index, const std::string& extension) {
  const json root = read_json_file(index, kIndexBytes);
  if (!root.contains("weight_map") || !root["weight_map"].is_object() || root["weight_map"].empty())
    throw Error(ErrorKind::bad_file, index.string(), "has no weight_map");
  std::set<std::string> names;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.find('/') != std::string::npos || name.find('\0') != std::string::npos || !name.ends_with(extension) ||
        name.size() == extension.size())
      throw Error(ErrorKind::bad_file, index.string() + ", tensor " + printable_text(tensor, 128),
                  "its shard \"" + printable_text(name, 60) + "\" is no " + extension + " file of this folder");
    names.insert(name);
    if (names.size() > kShards) throw Error(ErrorKind::bad_file, index.string(), "more than " + std::to_string(kShards) + " shards");
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) files.push_back(index.parent_path() / name);
  return files;
}

// Weights under a name of their own, in order of name.
std::vector<fs::path> loose_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string extension = entry.path().extension().string();
    if (entry.is_regular_file(ignored) && (extension == ".pt" || extension == ".bin") && entry.path().filename() != kMasks)
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

struct WeightFiles {
  std::vector<fs::path> files;
  std::vector<std::string> notes;
};

WeightFiles weight_files(const fs::path& folder) {
  for (const char* stem : {"model", "pytorch_model"}) {
    const std::string extension = std::string(stem) == "model" ? ".safetensors" : ".bin";
    const fs::path whole = folder / (stem + extension), index = folder / (stem + extension + ".index.json");
    if (is_file(whole)) return {{whole}, {}};
    if (is_file(index)) return {shards_of(index, extension), {}};
  }
  const std::vector<fs::path> loose = loose_files(folder);
  if (loose.empty()) return {};
  WeightFiles out;
  // Of several, the first whose config is beside it.
  const auto chosen = std::find_if(loose.begin(), loose.end(), [](fs::path file) { return is_file(file.replace_extension(".json")); });
  out.files = {chosen == loose.end() ? loose.front() : *chosen};
  if (loose.size() > 1)
    out.notes.push_back("the folder holds " + std::to_string(loose.size()) + " files of weights; " + out.files[0].filename().string() +
                        " is taken (name another one instead of the folder to have it)");
  return out;
}

std::optional<fs::path> config_of(const fs::path& folder, const std::vector<fs::path>& weights) {
  if (is_file(folder / "config.json")) return folder / "config.json";
  if (weights.size() != 1) return std::nullopt;
  fs::path beside = weights[0];
  beside.replace_extension(".json");
  return is_file(beside) ? std::optional(beside) : std::nullopt;
}

std::string name_of(const fs::path& folder, const std::vector<fs::path>& weights) {
  const std::string stem = weights[0].stem().string();
  if (weights.size() == 1 && stem != "model" && stem != "pytorch_model") return stem;
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole.filename() : whole.parent_path().filename()).string();
}

}  // namespace

std::optional<CheckpointSource> open_cpm_ant(const std::string& path, const CheckpointOptions& options) {
  std::error_code ignored;
  const bool one_file = !fs::is_directory(path, ignored);
  const fs::path folder = one_file ? fs::path(path).parent_path() : fs::path(path);
  const fs::path early_config = folder / "config.json";
  // Without a config.json only loose weights can be CPM-Ant's; with one, it says whose they are.
  if (is_file(early_config) && !is_cpm_ant_config(read_json_file(early_config))) return std::nullopt;
  WeightFiles weights = one_file ? WeightFiles{{path}, {}} : weight_files(folder);
  const std::optional<fs::path> config_path = config_of(folder, weights.files);
  if (!config_path) return std::nullopt;
  const json config = read_json_file(*config_path);
  if (!is_cpm_ant_config(config)) return std::nullopt;
  if (weights.files.empty())
    throw Error(ErrorKind::not_found, folder.string(), "holds no weights",
                "model.safetensors, pytorch_model.bin, their index.json, or a .pt file");

  CpmAntCheckpoint checkpoint;
  checkpoint.config = cpm_ant_config(config, config_path->string());
  for (const fs::path& file : weights.files) add_checkpoint_file(file, checkpoint.weights);
  if (weights.files.size() == 1) {
    const fs::path side = weights.files[0].string() + ".cnofig.json";
    if (is_file(side)) checkpoint.side = cpm_ant_side_file(read_json_file(side), checkpoint.config, side.string());
    if (checkpoint.config.live && is_file(folder / kMasks)) {
      CheckpointFiles masks;
      add_checkpoint_file(folder / kMasks, masks);
      checkpoint.masks = cpm_ant_masks(masks, checkpoint.config);
    }
  }
  const bool live = checkpoint.config.live;
  CheckpointSource source = cpm_ant_source(std::move(checkpoint), options.uncut_divisors,
                                           weights.files.size() == 1 ? weights.files[0].string() : folder.string());
  source.notes.insert(source.notes.begin(), weights.notes.begin(), weights.notes.end());
  source.tokenizer = ant_tokenizer(folder.string(), source.model.vocab_size, options.jieba_folder, source.notes);
  source.model.name = printable_text(name_of(folder, weights.files), ModelLimits::kNameBytes);
  source.model.source =
      printable_text(std::string(live ? "CPM-Live: " : "Hugging Face: ") + weights.files[0].filename().string(), ModelLimits::kSourceBytes);
  return source;
}

}  // namespace leafcutter::compress
