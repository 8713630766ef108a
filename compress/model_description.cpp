#include "compress/model_description.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

// Checks one description and names the field that is wrong.
class Validator {
 public:
  Validator(const ModelDescription& model, const std::string& file) : model_(model), where_(file + ", model description") {}

  void check() const {
    check_names();
    whole("dim", model_.dim, 1, ModelLimits::kDim);
    whole("vocab_size", model_.vocab_size, 1, ModelLimits::kVocabulary);
    whole("context_length", model_.context_length, 1, ModelLimits::kContext);
    if (model_.norm != NormKind::rms) refuse("norm", "is not known", ErrorKind::unsupported);
    real("norm_epsilon", model_.norm_epsilon, 0, 1);
    if (model_.activation > ActivationKind::gelu_tanh) refuse("activation", "is not known", ErrorKind::unsupported);
    whole("layers", model_.layers.size(), 1, ModelLimits::kLayers);
    switch (model_.position) {
      case PositionKind::rope_half:
        check_rope(model_.rope);
        break;
      case PositionKind::segment_relative_bias:
        check_segment_bias(model_.segment_bias);
        break;
      default:
        refuse("position", "is not known", ErrorKind::unsupported);
    }
    for (std::size_t i = 0; i < model_.layers.size(); i++) check_layer("layers[" + std::to_string(i) + "]", model_.layers[i]);
    check_ids();
  }

 private:
  [[noreturn]] void refuse(const std::string& field, const std::string& problem, ErrorKind kind = ErrorKind::bad_file) const {
    throw Error(kind, where_ + ", " + field, problem);
  }

  void whole(const std::string& field, std::uint64_t value, std::uint64_t least, std::uint64_t most) const {
    if (value < least || value > most)
      refuse(field, "is " + std::to_string(value) + ", allowed " + std::to_string(least) + " to " + std::to_string(most));
  }

  // least < value <= most
  void real(const std::string& field, double value, double least, double most) const {
    if (!(value > least && value <= most))
      refuse(field, "is " + std::to_string(value) + ", allowed above " + std::to_string(least) + " up to " + std::to_string(most));
  }

  void text(const char* field, const std::string& value, std::size_t least, std::size_t most) const {
    whole(std::string(field) + ", length", value.size(), least, most);
    if (!is_printable_text(value)) refuse(field, "is no printable UTF-8");
  }

  void check_names() const {
    text("architecture", model_.architecture, 1, ModelLimits::kArchitectureBytes);
    text("name", model_.name, 0, ModelLimits::kNameBytes);
    text("source", model_.source, 0, ModelLimits::kSourceBytes);
  }

  void check_rope(const RopeDescription& rope) const {
    constexpr double kLarge = 1e12;
    real("rope.theta", rope.theta, 0, kLarge);
    real("rope.factor", rope.factor, 0, kLarge);
    real("rope.low_freq_factor", rope.low_freq_factor, 0, kLarge);
    real("rope.high_freq_factor", rope.high_freq_factor, 0, kLarge);
    real("rope.beta_fast", rope.beta_fast, 0, kLarge);
    real("rope.beta_slow", rope.beta_slow, 0, kLarge);
    if (rope.attention_factor != 0) real("rope.attention_factor", rope.attention_factor, 0, kLarge);
    if (rope.scaling > RopeScaling::yarn) refuse("rope.scaling", "is not known", ErrorKind::unsupported);
    const bool needs_context = rope.scaling == RopeScaling::llama3 || rope.scaling == RopeScaling::yarn;
    whole("rope.original_context", rope.original_context, needs_context ? 1 : 0, ModelLimits::kContext);
    if (rope.scaling == RopeScaling::llama3 && rope.low_freq_factor >= rope.high_freq_factor)
      refuse("rope.low_freq_factor", "is not below high_freq_factor");
    if (rope.rotary_dim % 2 != 0) refuse("rope.rotary_dim", "is " + std::to_string(rope.rotary_dim) + ", which is odd");
    whole("rope.rotary_dim", rope.rotary_dim, 0, ModelLimits::kHeadDim);
    whole("rope.frequency_factors, length", rope.frequency_factors.size(), 0, ModelLimits::kHeadDim / 2);
    for (float factor : rope.frequency_factors) real("rope.frequency_factors", factor, 0, kLarge);
  }

  void check_segment_bias(const SegmentBiasDescription& bias) const {
    whole("segment_bias.prompt_types", bias.prompt_types, 1, ModelLimits::kPromptRows);
    whole("segment_bias.prompt_length", bias.prompt_length, 1, ModelLimits::kPromptRows / bias.prompt_types);
    whole("segment_bias.segment_types", bias.segment_types, 1, ModelLimits::kSegmentTypes);
    whole("segment_bias.buckets", bias.buckets, 4, ModelLimits::kBuckets);
    if (bias.buckets % 4 != 0) refuse("segment_bias.buckets", "is " + std::to_string(bias.buckets) + ", no multiple of 4");
    // Half of the buckets of one direction are exact distances; the logarithm needs a greater one.
    whole("segment_bias.max_distance", bias.max_distance, bias.buckets / 4 + 1, ModelLimits::kContext);
    whole("segment_bias.columns", bias.columns, 1, ModelLimits::kHeads);
  }

  void check_layer(const std::string& name, const LayerDescription& layer) const {
    if (layer.has_attention) {
      check_attention(name, layer);
    } else {
      whole(name + ".heads", layer.heads, 0, 0);
      whole(name + ".kv_heads", layer.kv_heads, 0, 0);
      whole(name + ".head_dim", layer.head_dim, 0, 0);
      whole(name + ".bias_columns, length", layer.bias_columns.size(), 0, 0);
    }
    whole(name + ".ff_width", layer.ff_width, layer.has_feed_forward ? 1 : 0, layer.has_feed_forward ? ModelLimits::kFeedForward : 0);
  }

  void check_attention(const std::string& name, const LayerDescription& layer) const {
    whole(name + ".heads", layer.heads, 1, ModelLimits::kHeads);
    whole(name + ".kv_heads", layer.kv_heads, 1, layer.heads);
    if (layer.heads % layer.kv_heads != 0)
      refuse(name + ".kv_heads",
             "is " + std::to_string(layer.kv_heads) + ", which does not divide " + std::to_string(layer.heads) + " heads");
    whole(name + ".head_dim", layer.head_dim, 1, ModelLimits::kHeadDim);
    whole(name + ", heads * head_dim", std::uint64_t{layer.heads} * layer.head_dim, 1, ModelLimits::kAttentionWidth);
    if (model_.position == PositionKind::rope_half)
      check_rope_of(name, layer);
    else
      check_bias_columns(name, layer);
  }

  void check_rope_of(const std::string& name, const LayerDescription& layer) const {
    if (layer.head_dim % 2 != 0) refuse(name + ".head_dim", "is " + std::to_string(layer.head_dim) + ", which is odd");
    whole(name + ".bias_columns, length", layer.bias_columns.size(), 0, 0);
    whole("rope.rotary_dim", model_.rope.rotary_dim, 0, layer.head_dim);
    const std::uint32_t rotary = model_.rope.rotary_dim != 0 ? model_.rope.rotary_dim : layer.head_dim;
    const std::size_t factors = model_.rope.frequency_factors.size();
    if (factors != 0) whole("rope.frequency_factors, length (for " + name + ")", factors, rotary / 2, rotary / 2);
  }

  void check_bias_columns(const std::string& name, const LayerDescription& layer) const {
    const std::uint32_t columns = model_.segment_bias.columns;
    if (layer.bias_columns.empty()) {
      whole(name + ".heads (without bias_columns)", layer.heads, 1, columns);
      return;
    }
    whole(name + ".bias_columns, length", layer.bias_columns.size(), layer.heads, layer.heads);
    for (std::uint16_t column : layer.bias_columns) whole(name + ".bias_columns", column, 0, columns - 1);
  }

  void check_ids() const {
    whole("end_ids, length", model_.end_ids.size(), 0, ModelLimits::kEndIds);
    for (std::uint32_t id : model_.end_ids) whole("end_ids", id, 0, model_.vocab_size - 1);
    if (model_.begin_id) whole("begin_id", *model_.begin_id, 0, model_.vocab_size - 1);
  }

  const ModelDescription& model_;
  std::string where_;
};

}  // namespace

void validate(const ModelDescription& model, const std::string& file) { Validator(model, file).check(); }

std::uint64_t parameter_count(const ModelDescription& model) {
  std::uint64_t sum = 0;
  for (const ExpectedTensor& tensor : expected_tensors(model))
    if (!tensor.optional) sum += tensor.rows * tensor.k;
  return sum;
}

}  // namespace leafcutter::compress
