#include "compress/cpm_ant_directory.h"

#include <filesystem>

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

std::string name_of(const fs::path& folder, const std::vector<std::string>& weights) {
  const std::string stem = fs::path(weights[0]).stem().string();
  if (weights.size() == 1 && stem != "model" && stem != "pytorch_model") return stem;
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole.filename() : whole.parent_path().filename()).string();
}

}  // namespace

CheckpointSource open_cpm_ant(const WeightFiles& weights, const json& config, const CheckpointOptions& options) {
  const fs::path folder = weights.folder;
  const bool whole = weights.files.size() == 1;
  std::vector<std::string> notes;
  CpmAntCheckpoint checkpoint;
  checkpoint.config = cpm_ant_config(config, weights.config);
  for (const std::string& file : weights.files) list_tensors(file, weights.torch, checkpoint.weights, notes);
  if (whole) {
    const fs::path side = weights.files[0] + ".cnofig.json";
    if (is_file(side)) checkpoint.side = cpm_ant_side_file(read_json_file(side), checkpoint.config, side.string());
    if (checkpoint.config.live && is_file(folder / kMasksFile)) {
      ListedWeights masks;
      list_tensors((folder / kMasksFile).string(), true, masks, notes);
      checkpoint.masks = cpm_ant_masks(masks, checkpoint.config);
    }
  }
  const bool live = checkpoint.config.live;
  CheckpointSource source = cpm_ant_source(std::move(checkpoint), options.uncut_divisors, whole ? weights.files[0] : folder.string());
  source.notes.insert(source.notes.begin(), notes.begin(), notes.end());
  source.tokenizer = ant_tokenizer(folder.string(), source.model.vocab_size, options.jieba_folder, source.notes);
  source.model.name = printable_text(name_of(folder, weights.files), ModelLimits::kNameBytes);
  source.model.source =
      printable_text((live ? "CPM-Live: " : "Hugging Face: ") + fs::path(weights.files[0]).filename().string(), ModelLimits::kSourceBytes);
  return source;
}

}  // namespace leafcutter::compress
