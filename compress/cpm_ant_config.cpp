#include "compress/cpm_ant_config.h"

#include "base/error.h"
#include "compress/json_document.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

constexpr std::uint32_t kBeginId = 6, kEndId = 7;  // <s> and </s> of CPM-Ant's vocabulary

bool has(const json& config, const char* field) { return config.is_object() && config.contains(field) && !config[field].is_null(); }

// fallback 0: the field must be there.
std::uint32_t number_field(const json& config, const char* field, std::uint64_t limit, const std::string& file,
                           std::uint32_t fallback = 0) {
  if (fallback == 0 && !has(config, field))
    throw Error(ErrorKind::bad_file, file, std::string("has no ") + field, "is it the model's config?");
  const std::uint64_t value = json_number(config, field, fallback, file);
  if (value == 0 || value > limit)
    throw Error(ErrorKind::bad_file, file + ", field " + field,
                "expected 1 to " + std::to_string(limit) + ", found " + std::to_string(value));
  return static_cast<std::uint32_t>(value);
}

// transformers renamed three fields; old checkpoints keep the old ones.
std::uint32_t either_field(const json& config, const char* old_field, const char* new_field, std::uint64_t limit, const std::string& file) {
  if (has(config, old_field) && has(config, new_field) &&
      json_number(config, old_field, 0, file) != json_number(config, new_field, 0, file))
    throw Error(ErrorKind::bad_file, file + ", field " + new_field, std::string("differs from ") + old_field);
  return number_field(config, has(config, new_field) ? new_field : old_field, limit, file);
}

// A number, or a list of which the first counts; what is no id of the model is left out.
std::vector<std::uint32_t> ids_of(const json& config, const char* field, std::uint32_t fallback, std::uint32_t vocab_size) {
  const json list = !has(config, field) ? json::array({fallback}) : config[field].is_array() ? config[field] : json::array({config[field]});
  std::vector<std::uint32_t> ids;
  for (const json& id : list)
    if (id.is_number_unsigned() && id.get<std::uint64_t>() < vocab_size && ids.size() < ModelLimits::kEndIds)
      ids.push_back(id.get<std::uint32_t>());
  return ids;
}

}  // namespace

bool is_cpm_ant_config(const json& config) {
  if (!config.is_object()) return false;
  if (has(config, "model_type")) return config["model_type"] == "cpmant";
  return has(config, "dim_model") && has(config, "position_bias_num_buckets");
}

std::optional<std::vector<CpmAntConfig::Removed>> removed_parts(const json& object, std::uint32_t layers, const std::string& file) {
  if (!has(object, "mask_modules")) return std::nullopt;
  const json& mask = object["mask_modules"];
  const std::string place = file + ", field mask_modules";
  if (!mask.is_array() || mask.size() != layers)
    throw Error(ErrorKind::bad_file, place,
                "expected a list of " + std::to_string(layers) + " pairs, found " +
                    (mask.is_array() ? "one of " + std::to_string(mask.size()) : std::string("a ") + mask.type_name()));
  const auto flag = [&](const json& value, std::size_t layer) {
    if (value.is_boolean()) return value.get<bool>();
    if (value.is_number_unsigned() && value.get<std::uint64_t>() <= 1) return value.get<std::uint64_t>() == 1;
    throw Error(ErrorKind::bad_file, place, "entry " + std::to_string(layer) + " is no pair of true and false");
  };
  std::vector<CpmAntConfig::Removed> removed;
  for (std::size_t i = 0; i < mask.size(); i++) {
    if (!mask[i].is_array() || mask[i].size() != 2)
      throw Error(ErrorKind::bad_file, place, "entry " + std::to_string(i) + " is no pair of true and false");
    removed.push_back({flag(mask[i][0], i), flag(mask[i][1], i)});
  }
  return removed;
}

CpmAntConfig cpm_ant_config(const json& config, const std::string& file) {
  CpmAntConfig out;
  out.live = !has(config, "model_type");
  out.dim = either_field(config, "dim_model", "hidden_size", ModelLimits::kDim, file);
  out.heads = either_field(config, "num_heads", "num_attention_heads", ModelLimits::kHeads, file);
  out.layers = either_field(config, "num_layers", "num_hidden_layers", ModelLimits::kLayers, file);
  out.vocab_size = number_field(config, "vocab_size", ModelLimits::kVocabulary, file);
  out.head_dim = number_field(config, "dim_head", ModelLimits::kHeadDim, file);
  out.ff_width = number_field(config, "dim_ff", ModelLimits::kFeedForward, file);
  out.norm_epsilon = static_cast<float>(json_real(config, "eps", 1e-6, file));
  SegmentBiasDescription& bias = out.segment_bias;  // missing fields: all published sizes have these
  bias.prompt_types = number_field(config, "prompt_types", ModelLimits::kPromptRows, file, 32);
  bias.prompt_length = number_field(config, "prompt_length", ModelLimits::kPromptRows / bias.prompt_types, file, 32);
  bias.segment_types = number_field(config, "segment_types", ModelLimits::kSegmentTypes, file, 32);
  bias.buckets = number_field(config, "position_bias_num_buckets", ModelLimits::kBuckets, file, 512);
  bias.max_distance = number_field(config, "position_bias_max_distance", ModelLimits::kContext, file, 2048);
  bias.columns = out.heads;
  out.removed = removed_parts(config, out.layers, file);
  out.end_ids = ids_of(config, "eos_token_id", kEndId, out.vocab_size);
  const std::vector<std::uint32_t> begin = ids_of(config, "bos_token_id", kBeginId, out.vocab_size);
  out.begin_id = begin.empty() ? std::min(kBeginId, out.vocab_size - 1) : begin.front();
  return out;
}

}  // namespace leafcutter::compress
