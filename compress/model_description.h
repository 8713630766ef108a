// What a model is, apart from its weights: everything the runtime's one block needs to know. Stored in the .leaf as JSON (docs/format.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace leafcutter::compress {

enum class NormKind : std::uint8_t { rms };
enum class PositionKind : std::uint8_t { rope_half, segment_relative_bias };
enum class ActivationKind : std::uint8_t { silu, gelu_erf, gelu_tanh };
enum class RopeScaling : std::uint8_t { none, linear, llama3, yarn };

struct RopeDescription {
  double theta = 10000;
  std::uint32_t rotary_dim = 0;  // 0: the whole head
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  double attention_factor = 0;                       // yarn; 0: 0.1 ln(factor) + 1
  std::uint64_t original_context = 0;                // llama3, yarn
  std::vector<float> frequency_factors;              // GGUF's rope_freqs: inverse frequency i is divided by it; empty: none
};

// CPM-Ant: learned prompt slots before the text, a segment embedding per slot, and one table of position biases that all layers share.
struct SegmentBiasDescription {
  std::uint32_t prompt_types = 0, prompt_length = 0;  // prompt_embedding has prompt_types * prompt_length rows
  std::uint32_t segment_types = 0;                    // rows of segment_embedding
  std::uint32_t buckets = 0, max_distance = 0;        // position_bias has segment_types^2 + buckets rows
  std::uint32_t columns = 0;                          // of position_bias: the heads that it was made for; layers may have kept fewer
};

struct LayerDescription {
  bool has_attention = true;
  bool has_feed_forward = true;
  std::uint32_t heads = 0, kv_heads = 0, head_dim = 0;
  std::uint32_t ff_width = 0;
  std::vector<std::uint16_t> bias_columns;  // head -> column of the shared position bias; empty: head i reads column i
};

struct ModelDescription {
  std::string architecture;  // "llama"; "cpm-ant"
  std::string name;          // for people; may be empty
  std::string source;        // what it was made from, for people
  std::uint32_t dim = 0;
  std::uint32_t vocab_size = 0;  // rows of embedding and head
  std::uint64_t context_length = 0;
  NormKind norm = NormKind::rms;
  float norm_epsilon = 1e-5f;
  PositionKind position = PositionKind::rope_half;
  RopeDescription rope;
  ActivationKind activation = ActivationKind::silu;
  bool tied_head = false;  // the head reads the embedding's rows
  std::vector<LayerDescription> layers;
  std::vector<std::uint32_t> end_ids;     // any of them ends a generation
  std::optional<std::uint32_t> begin_id;  // what a tokenizer that adds one puts in front
  SegmentBiasDescription segment_bias;    // of PositionKind::segment_relative_bias
};

struct ModelLimits {
  static constexpr std::uint32_t kLayers = 4096;
  static constexpr std::uint32_t kDim = 1u << 17;
  static constexpr std::uint32_t kHeads = 4096;
  static constexpr std::uint32_t kHeadDim = 1024;
  static constexpr std::uint32_t kFeedForward = 1u << 18;
  static constexpr std::uint32_t kVocabulary = 1u << 22;
  static constexpr std::uint64_t kContext = 1u << 24;
  static constexpr std::size_t kDescriptionBytes = 8u << 20;
  static constexpr std::uint32_t kAttentionWidth = 1u << 18;  // heads * head_dim of one layer
  static constexpr std::uint32_t kSegmentTypes = 64;
  static constexpr std::uint32_t kPromptRows = 1u << 16;  // prompt_types * prompt_length
  static constexpr std::uint32_t kBuckets = 1u << 14;
  static constexpr std::size_t kEndIds = 64;
  static constexpr std::size_t kArchitectureBytes = 64;
  static constexpr std::size_t kNameBytes = 256;
  static constexpr std::size_t kSourceBytes = 4096;
};

// Throws Error(bad_file | unsupported) naming `file`, the field, what was found and what is allowed. Called for every description that comes from outside.
// Names are for terminals: well-formed UTF-8 without control characters (importers use printable_text).
void validate(const ModelDescription& model, const std::string& file);

std::string to_json_text(const ModelDescription& model);
ModelDescription model_description_from_json(const std::string& text, const std::string& file);  // validated

// Weights in all matrices and vectors that the description asks for (the tied head counted once; biases, which a file may or may not have, are not in it).
std::uint64_t parameter_count(const ModelDescription& model);

}  // namespace leafcutter::compress
