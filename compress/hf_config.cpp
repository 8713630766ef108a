#include "compress/hf_config.h"

#include "base/error.h"
#include "compress/json_document.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

constexpr const char* kServed = "LLaMA-type decoders are served; docs/models.md has the list";

std::uint32_t small_number(const json& config, const char* field, std::uint64_t fallback, std::uint64_t limit, const std::string& file) {
  const std::uint64_t value = json_number(config, field, fallback, file);
  if (value == 0 || value > limit)
    throw Error(ErrorKind::bad_file, file + ", field " + field,
                "expected 1 to " + std::to_string(limit) + ", found " + std::to_string(value));
  return static_cast<std::uint32_t>(value);
}

ActivationKind activation(const std::string& name, const std::string& file) {
  if (name == "silu" || name == "swish") return ActivationKind::silu;
  if (name == "gelu") return ActivationKind::gelu_erf;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return ActivationKind::gelu_tanh;
  throw Error(ErrorKind::unsupported, file + ", field hidden_act", "\"" + printable_text(name, 40) + "\" is not served",
              "silu, gelu and gelu_pytorch_tanh are");
}

// rope_scaling (transformers up to 4) or rope_parameters (from 5 on), with `type` or `rope_type`.
RopeDescription rope(const json& config, std::uint64_t context, const std::string& file) {
  RopeDescription rope;
  rope.theta = json_real(config, "rope_theta", 10000, file);
  json scaling;
  for (const char* field : {"rope_scaling", "rope_parameters"})
    if (config.contains(field) && config[field].is_object()) scaling = config[field];
  if (!scaling.is_object()) return rope;
  rope.theta = json_real(scaling, "rope_theta", rope.theta, file);
  const std::string type = json_text(scaling, "rope_type", json_text(scaling, "type", "default", file), file);
  if (type == "default") return rope;
  if (type == "linear")
    rope.scaling = RopeScaling::linear;
  else if (type == "llama3")
    rope.scaling = RopeScaling::llama3;
  else if (type == "yarn")
    rope.scaling = RopeScaling::yarn;
  else
    throw Error(ErrorKind::unsupported, file + ", field rope_scaling", "\"" + printable_text(type, 40) + "\" is not served",
                "none, linear, llama3 and yarn are");
  rope.factor = json_real(scaling, "factor", 1, file);
  rope.low_freq_factor = json_real(scaling, "low_freq_factor", rope.low_freq_factor, file);
  rope.high_freq_factor = json_real(scaling, "high_freq_factor", rope.high_freq_factor, file);
  rope.beta_fast = json_real(scaling, "beta_fast", rope.beta_fast, file);
  rope.beta_slow = json_real(scaling, "beta_slow", rope.beta_slow, file);
  rope.attention_factor = json_real(scaling, "attention_factor", 0, file);
  rope.original_context = json_number(scaling, "original_max_position_embeddings",
                                      json_number(config, "original_max_position_embeddings", context, file), file);
  for (const char* field : {"mscale", "mscale_all_dim"})
    if (scaling.contains(field) && !scaling[field].is_null())
      throw Error(ErrorKind::unsupported, file + ", field rope_scaling", std::string(field) + " is not served");
  if (scaling.contains("truncate") && scaling["truncate"] == false)
    throw Error(ErrorKind::unsupported, file + ", field rope_scaling", "truncate: false is not served");
  return rope;
}

}  // namespace

ModelDescription llama_from_hf_config(const json& config, const std::string& file) {
  std::string architecture = json_text(config, "model_type", "", file);
  if (config.contains("architectures") && config["architectures"].is_array() && !config["architectures"].empty() &&
      config["architectures"][0].is_string()) {
    const std::string name = config["architectures"][0].get<std::string>();
    if (name != "LlamaForCausalLM" && name != "LLaMAForCausalLM" && name != "LlamaModel")
      throw Error(ErrorKind::unsupported, file, "architecture \"" + printable_text(name, 60) + "\" is not served", kServed);
    if (architecture.empty()) architecture = "llama";
  }
  if (architecture != "llama")
    throw Error(ErrorKind::unsupported, file, "model_type \"" + printable_text(architecture, 60) + "\" is not served", kServed);

  ModelDescription model;
  model.architecture = "llama";
  model.name = printable_text(json_text(config, "_name_or_path", "", file), ModelLimits::kNameBytes);
  model.dim = small_number(config, "hidden_size", 4096, ModelLimits::kDim, file);
  model.vocab_size = small_number(config, "vocab_size", 32000, ModelLimits::kVocabulary, file);
  model.context_length = json_number(config, "max_position_embeddings", 2048, file);
  model.norm_epsilon = static_cast<float>(json_real(config, "rms_norm_eps", 1e-6, file));
  model.activation = activation(json_text(config, "hidden_act", "silu", file), file);
  model.tied_head = json_flag(config, "tie_word_embeddings", false, file);
  model.rope = rope(config, model.context_length, file);
  LayerDescription layer;
  layer.heads = small_number(config, "num_attention_heads", 32, ModelLimits::kHeads, file);
  layer.kv_heads = small_number(config, "num_key_value_heads", layer.heads, ModelLimits::kHeads, file);
  layer.head_dim = small_number(config, "head_dim", model.dim / layer.heads, ModelLimits::kHeadDim, file);
  layer.ff_width = small_number(config, "intermediate_size", 11008, ModelLimits::kFeedForward, file);
  if (const double partial = json_real(config, "partial_rotary_factor", 1, file); partial != 1)
    model.rope.rotary_dim = static_cast<std::uint32_t>(partial * layer.head_dim);
  model.layers.assign(small_number(config, "num_hidden_layers", 32, ModelLimits::kLayers, file), layer);
  return model;
}

}  // namespace leafcutter::compress
