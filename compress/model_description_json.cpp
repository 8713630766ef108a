// The model description as JSON text and back. Every field is written; reading refuses fields that it does not know and takes the defaults of those that are missing
// only where docs/format.md says so.
#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "compress/json_reader.h"
#include "compress/model_description.h"

namespace leafcutter::compress {
namespace {

using nlohmann::ordered_json;

// Names of enumerators as they stand in files; never changed.
template <class Enum>
struct Name {
  Enum value;
  const char* text;
};
constexpr Name<NormKind> kNorms[] = {{NormKind::rms, "rms"}};
constexpr Name<PositionKind> kPositions[] = {{PositionKind::rope_half, "rope_half"},
                                             {PositionKind::segment_relative_bias, "segment_relative_bias"}};
constexpr Name<ActivationKind> kActivations[] = {
    {ActivationKind::silu, "silu"}, {ActivationKind::gelu_erf, "gelu_erf"}, {ActivationKind::gelu_tanh, "gelu_tanh"}};
constexpr Name<RopeScaling> kScalings[] = {
    {RopeScaling::none, "none"}, {RopeScaling::linear, "linear"}, {RopeScaling::llama3, "llama3"}, {RopeScaling::yarn, "yarn"}};

template <class Table, class Enum>
const char* text_of(const Table& table, Enum value) {
  return std::find_if(std::begin(table), std::end(table), [value](const auto& row) { return row.value == value; })->text;
}

template <class Table>
auto read_name(JsonReader& in, const Table& table) {
  const std::string text = in.string(64);
  const auto row = std::find_if(std::begin(table), std::end(table), [&](const auto& r) { return text == r.text; });
  if (row == std::end(table)) in.refuse("\"" + printable_text(text, 64) + "\" is not known to this program");
  return row->value;
}

ordered_json rope_json(const RopeDescription& rope) {
  return {{"theta", rope.theta},
          {"rotary_dim", rope.rotary_dim},
          {"scaling", text_of(kScalings, rope.scaling)},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_freq_factor},
          {"high_freq_factor", rope.high_freq_factor},
          {"beta_fast", rope.beta_fast},
          {"beta_slow", rope.beta_slow},
          {"attention_factor", rope.attention_factor},
          {"original_context", rope.original_context},
          {"frequency_factors", rope.frequency_factors}};
}

ordered_json segment_bias_json(const SegmentBiasDescription& bias) {
  return {{"prompt_types", bias.prompt_types}, {"prompt_length", bias.prompt_length}, {"segment_types", bias.segment_types},
          {"buckets", bias.buckets},           {"max_distance", bias.max_distance},   {"columns", bias.columns}};
}

ordered_json layer_json(const LayerDescription& layer) {
  ordered_json out = ordered_json::object();
  if (layer.has_attention) {
    out["heads"] = layer.heads;
    out["kv_heads"] = layer.kv_heads;
    out["head_dim"] = layer.head_dim;
    if (!layer.bias_columns.empty()) out["bias_columns"] = layer.bias_columns;
  }
  if (layer.has_feed_forward) out["ff_width"] = layer.ff_width;
  return out;
}

std::uint32_t whole32(JsonReader& in) { return static_cast<std::uint32_t>(in.whole_number(~std::uint32_t{0})); }

RopeDescription read_rope(JsonReader& in) {
  RopeDescription rope;
  in.object([&](const std::string& key) {
    if (key == "theta")
      rope.theta = in.number();
    else if (key == "rotary_dim")
      rope.rotary_dim = whole32(in);
    else if (key == "scaling")
      rope.scaling = read_name(in, kScalings);
    else if (key == "factor")
      rope.factor = in.number();
    else if (key == "low_freq_factor")
      rope.low_freq_factor = in.number();
    else if (key == "high_freq_factor")
      rope.high_freq_factor = in.number();
    else if (key == "beta_fast")
      rope.beta_fast = in.number();
    else if (key == "beta_slow")
      rope.beta_slow = in.number();
    else if (key == "attention_factor")
      rope.attention_factor = in.number();
    else if (key == "original_context")
      rope.original_context = in.whole_number(ModelLimits::kContext);
    else if (key == "frequency_factors")
      in.array(ModelLimits::kHeadDim / 2, [&](std::size_t) { rope.frequency_factors.push_back(static_cast<float>(in.number())); });
    else
      in.refuse_unknown(key);
  });
  return rope;
}

SegmentBiasDescription read_segment_bias(JsonReader& in) {
  SegmentBiasDescription bias;
  in.object([&](const std::string& key) {
    if (key == "prompt_types")
      bias.prompt_types = whole32(in);
    else if (key == "prompt_length")
      bias.prompt_length = whole32(in);
    else if (key == "segment_types")
      bias.segment_types = whole32(in);
    else if (key == "buckets")
      bias.buckets = whole32(in);
    else if (key == "max_distance")
      bias.max_distance = whole32(in);
    else if (key == "columns")
      bias.columns = whole32(in);
    else
      in.refuse_unknown(key);
  });
  return bias;
}

// A part is there when its widths are.
LayerDescription read_layer(JsonReader& in) {
  LayerDescription layer;
  layer.has_attention = layer.has_feed_forward = false;
  in.object([&](const std::string& key) {
    if (key == "ff_width") {
      layer.has_feed_forward = true;
      layer.ff_width = whole32(in);
      return;
    }
    layer.has_attention = true;
    if (key == "heads")
      layer.heads = whole32(in);
    else if (key == "kv_heads")
      layer.kv_heads = whole32(in);
    else if (key == "head_dim")
      layer.head_dim = whole32(in);
    else if (key == "bias_columns")
      in.array(ModelLimits::kHeads,
               [&](std::size_t) { layer.bias_columns.push_back(static_cast<std::uint16_t>(in.whole_number(0xffff))); });
    else
      in.refuse_unknown(key);
  });
  return layer;
}

void read_member(JsonReader& in, const std::string& key, ModelDescription& model) {
  if (key == "architecture")
    model.architecture = in.string(ModelLimits::kArchitectureBytes);
  else if (key == "name")
    model.name = in.string(ModelLimits::kNameBytes);
  else if (key == "source")
    model.source = in.string(ModelLimits::kSourceBytes);
  else if (key == "dim")
    model.dim = whole32(in);
  else if (key == "vocab_size")
    model.vocab_size = whole32(in);
  else if (key == "context_length")
    model.context_length = in.whole_number(ModelLimits::kContext);
  else if (key == "norm")
    model.norm = read_name(in, kNorms);
  else if (key == "norm_epsilon")
    model.norm_epsilon = static_cast<float>(in.number());
  else if (key == "position")
    model.position = read_name(in, kPositions);
  else if (key == "rope")
    model.rope = read_rope(in);
  else if (key == "segment_bias")
    model.segment_bias = read_segment_bias(in);
  else if (key == "activation")
    model.activation = read_name(in, kActivations);
  else if (key == "tied_head")
    model.tied_head = in.boolean();
  else if (key == "end_ids")
    in.array(ModelLimits::kEndIds, [&](std::size_t) { model.end_ids.push_back(whole32(in)); });
  else if (key == "begin_id")
    model.begin_id = whole32(in);
  else if (key == "layers")
    in.array(ModelLimits::kLayers, [&](std::size_t) { model.layers.push_back(read_layer(in)); });
  else
    in.refuse_unknown(key);
}

}  // namespace

std::string to_json_text(const ModelDescription& model) {
  validate(model, model.name.empty() ? "model" : model.name);
  ordered_json out = {{"architecture", model.architecture},
                      {"name", model.name},
                      {"source", model.source},
                      {"dim", model.dim},
                      {"vocab_size", model.vocab_size},
                      {"context_length", model.context_length},
                      {"norm", text_of(kNorms, model.norm)},
                      {"norm_epsilon", model.norm_epsilon},
                      {"position", text_of(kPositions, model.position)}};
  if (model.position == PositionKind::rope_half)
    out["rope"] = rope_json(model.rope);
  else
    out["segment_bias"] = segment_bias_json(model.segment_bias);
  out["activation"] = text_of(kActivations, model.activation);
  out["tied_head"] = model.tied_head;
  out["end_ids"] = model.end_ids;
  if (model.begin_id) out["begin_id"] = *model.begin_id;
  out["layers"] = ordered_json::array();
  for (const LayerDescription& layer : model.layers) out["layers"].push_back(layer_json(layer));
  std::string text = out.dump();
  if (text.size() > ModelLimits::kDescriptionBytes)
    throw Error(ErrorKind::unsupported, "model description", "is longer than " + std::to_string(ModelLimits::kDescriptionBytes) + " bytes");
  return text;
}

ModelDescription model_description_from_json(const std::string& text, const std::string& file) {
  const std::string where = file + ", model description";
  if (text.size() > ModelLimits::kDescriptionBytes)
    throw Error(ErrorKind::bad_file, where,
                "has " + std::to_string(text.size()) + " bytes, allowed " + std::to_string(ModelLimits::kDescriptionBytes));
  JsonReader in(text, where);
  ModelDescription model;
  // What changes the numbers must be said; only names, ids and the fields inside rope have defaults.
  constexpr const char* kNeeded[] = {"architecture", "dim",      "vocab_size", "context_length", "norm",
                                     "norm_epsilon", "position", "activation", "tied_head",      "layers"};
  std::vector<std::string> found;
  in.object([&](const std::string& key) {
    found.push_back(key);
    read_member(in, key, model);
  });
  in.end();
  const auto need = [&](const char* key) {
    if (std::find(found.begin(), found.end(), key) == found.end()) in.refuse(std::string("has no \"") + key + "\"");
  };
  for (const char* key : kNeeded) need(key);
  need(model.position == PositionKind::rope_half ? "rope" : "segment_bias");
  validate(model, file);
  return model;
}

}  // namespace leafcutter::compress
