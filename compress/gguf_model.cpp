#include "compress/gguf_model.h"

#include <algorithm>

#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/printable_text.h"
#include "compress/source_check.h"
#include "compress/tensor_names.h"

namespace leafcutter::compress {
namespace {

constexpr TensorName kModelNames[] = {
    {"token_embd.weight", TensorRole::embedding}, {"output_norm.weight", TensorRole::output_norm}, {"output.weight", TensorRole::head}};
constexpr TensorName kLayerNames[] = {
    {"attn_norm.weight", TensorRole::attention_norm},   {"ffn_norm.weight", TensorRole::feed_forward_norm},
    {"attn_q.weight", TensorRole::attention_q},         {"attn_k.weight", TensorRole::attention_k},
    {"attn_v.weight", TensorRole::attention_v},         {"attn_output.weight", TensorRole::attention_out},
    {"attn_q.bias", TensorRole::attention_q_bias},      {"attn_k.bias", TensorRole::attention_k_bias},
    {"attn_v.bias", TensorRole::attention_v_bias},      {"attn_output.bias", TensorRole::attention_out_bias},
    {"ffn_gate.weight", TensorRole::feed_forward_gate}, {"ffn_up.weight", TensorRole::feed_forward_up},
    {"ffn_down.weight", TensorRole::feed_forward_down}, {"ffn_gate.bias", TensorRole::feed_forward_gate_bias},
    {"ffn_up.bias", TensorRole::feed_forward_up_bias},  {"ffn_down.bias", TensorRole::feed_forward_down_bias},
};
constexpr TensorNames kNames{kModelNames, "blk.", kLayerNames};
constexpr std::string_view kRopeFrequencies = "rope_freqs.weight";

class Metadata {
 public:
  explicit Metadata(const GgufHeader& header) : header_(header) {}

  std::uint32_t number(const std::string& field, std::uint64_t limit, std::optional<std::uint64_t> fallback = std::nullopt) const {
    return checked(field, header_.number("llama." + field).value_or(fallback.value_or(0)), limit);
  }

  // One number for all layers or one for each.
  std::vector<std::uint32_t> by_layer(const std::string& field, std::uint32_t layers, std::uint64_t limit,
                                      std::optional<std::vector<std::uint32_t>> fallback = std::nullopt) const {
    const std::vector<std::uint64_t> found = header_.numbers("llama." + field);
    if (found.empty() && fallback) return *fallback;
    if (found.size() != 1 && found.size() != layers)
      throw Error(ErrorKind::bad_file, place(field),
                  "has " + std::to_string(found.size()) + " values for " + std::to_string(layers) + " layers");
    std::vector<std::uint32_t> all;
    for (std::uint32_t l = 0; l < layers; l++) all.push_back(checked(field, found[found.size() == 1 ? 0 : l], limit));
    return all;
  }

  double real(const std::string& field, double fallback) const { return header_.real("llama." + field).value_or(fallback); }
  std::optional<std::string> text(const std::string& field) const { return header_.text("llama." + field); }
  bool has(const std::string& field) const { return header_.find("llama." + field) != nullptr; }
  std::string place(const std::string& field) const { return header_.file() + ", key llama." + field; }

 private:
  std::uint32_t checked(const std::string& field, std::uint64_t value, std::uint64_t limit) const {
    if (value == 0 || value > limit)
      throw Error(ErrorKind::bad_file, place(field), "expected 1 to " + std::to_string(limit) + ", found " + std::to_string(value));
    return static_cast<std::uint32_t>(value);
  }
  const GgufHeader& header_;
};

RopeDescription rope(const Metadata& metadata, std::uint32_t head_dim, std::uint64_t context) {
  RopeDescription rope;
  rope.theta = metadata.real("rope.freq_base", 10000);
  const std::uint32_t dim = metadata.number("rope.dimension_count", ModelLimits::kHeadDim, head_dim);
  if (dim != head_dim) rope.rotary_dim = dim;
  std::string type = metadata.text("rope.scaling.type").value_or("none");
  rope.factor = metadata.real("rope.scaling.factor", metadata.real("rope.scale_linear", 1));
  if (type == "none" && metadata.has("rope.scale_linear") && rope.factor != 1) type = "linear";
  if (type == "none") {
    rope.factor = 1;
  } else if (type == "linear") {
    rope.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::yarn;
    rope.original_context = metadata.has("rope.scaling.original_context_length")
                                ? metadata.number("rope.scaling.original_context_length", ModelLimits::kContext)
                                : context;
    rope.attention_factor = metadata.real("rope.scaling.attn_factor", 0);
    rope.beta_fast = metadata.real("rope.scaling.yarn_beta_fast", rope.beta_fast);
    rope.beta_slow = metadata.real("rope.scaling.yarn_beta_slow", rope.beta_slow);
  } else {
    throw Error(ErrorKind::unsupported, metadata.place("rope.scaling.type"), "\"" + printable_text(type, 40) + "\" is not served",
                "none, linear and yarn are");
  }
  return rope;
}

}  // namespace

const GgufTensor* rope_frequencies_tensor(const GgufHeader& header) {
  for (const GgufTensor& tensor : header.tensors())
    if (tensor.name == kRopeFrequencies) return &tensor;
  return nullptr;
}

CheckpointSource llama_from_gguf(const GgufHeader& header, std::vector<float> rope_frequencies) {
  const std::string architecture = header.text("general.architecture").value_or("");
  if (architecture != "llama")
    throw Error(ErrorKind::unsupported, header.file(), "architecture \"" + printable_text(architecture, 60) + "\" is not served",
                "LLaMA-type decoders are; docs/models.md has the list");
  const Metadata metadata(header);
  if (metadata.has("expert_count") && header.number("llama.expert_count").value_or(0) > 0)
    throw Error(ErrorKind::unsupported, metadata.place("expert_count"), "mixtures of experts are not served");

  CheckpointSource source;
  ModelDescription& model = source.model;
  model.architecture = "llama";
  model.name = printable_text(header.text("general.name").value_or(""), ModelLimits::kNameBytes);
  model.dim = metadata.number("embedding_length", ModelLimits::kDim);
  model.context_length = metadata.number("context_length", ModelLimits::kContext);
  model.norm_epsilon = static_cast<float>(metadata.real("attention.layer_norm_rms_epsilon", 1e-5));
  const std::uint32_t layers = metadata.number("block_count", ModelLimits::kLayers);
  const auto heads = metadata.by_layer("attention.head_count", layers, ModelLimits::kHeads);
  const auto kv_heads = metadata.by_layer("attention.head_count_kv", layers, ModelLimits::kHeads, heads);
  const auto ff = metadata.by_layer("feed_forward_length", layers, ModelLimits::kFeedForward);
  const std::uint32_t head_dim = metadata.number("attention.key_length", ModelLimits::kHeadDim, model.dim / heads[0]);
  if (metadata.number("attention.value_length", ModelLimits::kHeadDim, head_dim) != head_dim)
    throw Error(ErrorKind::unsupported, metadata.place("attention.value_length"), "keys and values of different length are not served");
  for (std::uint32_t l = 0; l < layers; l++) {
    LayerDescription layer;
    layer.heads = heads[l];
    layer.kv_heads = kv_heads[l];
    layer.head_dim = head_dim;
    layer.ff_width = ff[l];
    model.layers.push_back(layer);
  }
  model.rope = rope(metadata, head_dim, model.context_length);
  model.rope.frequency_factors = std::move(rope_frequencies);

  for (const GgufTensor& entry : header.tensors()) {
    if (entry.name == kRopeFrequencies) continue;
    const auto place = kNames.find(entry.name);
    if (!place) {
      source.notes.push_back("tensor " + printable_text(entry.name, 128) + " is not part of a LLaMA-type model and was left out");
      continue;
    }
    SourceTensor tensor;
    tensor.role = place->role;
    tensor.layer = place->layer;
    tensor.name = printable_text(entry.name, 128);
    tensor.offset = entry.offset;
    tensor.type = entry.type;
    tensor.k = entry.shape[0];
    tensor.rows = 1;
    for (std::size_t d = 1; d < entry.shape.size(); d++) tensor.rows *= entry.shape[d];  // checked against the file's size before
    if (tensor.layer < layers) {
      const LayerDescription& layer = model.layers[tensor.layer];
      if (tensor.role == TensorRole::attention_q || tensor.role == TensorRole::attention_q_bias) tensor.rope_heads = layer.heads;
      if (tensor.role == TensorRole::attention_k || tensor.role == TensorRole::attention_k_bias) tensor.rope_heads = layer.kv_heads;
    }
    if (tensor.role == TensorRole::embedding) model.vocab_size = static_cast<std::uint32_t>(std::min<std::uint64_t>(tensor.rows, ~0u));
    source.tensors.push_back(std::move(tensor));
  }
  model.tied_head =
      std::none_of(source.tensors.begin(), source.tensors.end(), [](const SourceTensor& t) { return t.role == TensorRole::head; });
  return source;
}

}  // namespace leafcutter::compress
