// Small models with made-up weights, as .leaf bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "compress/expected_tensors.h"
#include "compress/leaf_reader.h"
#include "compress/leaf_writer.h"
#include "compress/tokenizer_data.h"
#include "tests/support/memory_file.h"

namespace leafcutter::compress::test {

inline LayerDescription layer_of(std::uint32_t heads, std::uint32_t kv_heads, std::uint32_t head_dim, std::uint32_t ff_width) {
  LayerDescription layer;
  layer.has_attention = heads > 0;
  layer.has_feed_forward = ff_width > 0;
  layer.heads = heads;
  layer.kv_heads = kv_heads;
  layer.head_dim = head_dim;
  layer.ff_width = ff_width;
  return layer;
}

// Three unlike layers: both parts, attention alone, feed-forward alone; untied.
inline ModelDescription small_llama() {
  ModelDescription m;
  m.architecture = "llama";
  m.name = "small";
  m.source = "made up";
  m.dim = 32;
  m.vocab_size = 40;
  m.context_length = 128;
  m.layers = {layer_of(4, 2, 8, 48), layer_of(2, 1, 16, 0), layer_of(0, 0, 0, 20)};
  m.end_ids = {2, 39};
  m.begin_id = 1;
  return m;
}

// CPM-Ant's kind: tied, position bias with pruned heads, an empty layer.
inline ModelDescription small_ant() {
  ModelDescription m;
  m.architecture = "cpm-ant";
  m.dim = 24;
  m.vocab_size = 35;
  m.context_length = 64;
  m.norm_epsilon = 1e-6f;
  m.position = PositionKind::segment_relative_bias;
  m.activation = ActivationKind::gelu_erf;
  m.tied_head = true;
  m.segment_bias = {.prompt_types = 2, .prompt_length = 9, .segment_types = 3, .buckets = 8, .max_distance = 32, .columns = 4};
  m.layers = {layer_of(4, 4, 8, 30), layer_of(0, 0, 0, 0), layer_of(2, 2, 8, 14)};
  m.layers[2].bias_columns = {3, 1};
  return m;
}

// Every tensor of the model in one format (vectors in f32), shuffled so that the writer has to order them; biases of layer 0 where asked for.
inline std::vector<TensorPlan> plan_of(const ModelDescription& model, quant::FormatId format, bool biases = false) {
  std::vector<TensorPlan> plan;
  for (const ExpectedTensor& t : expected_tensors(model)) {
    if (t.optional && !(biases && t.layer == 0)) continue;
    const bool vector = is_vector_role(t.role);
    plan.push_back(
        {t.role, t.layer, vector ? quant::FormatId::f32 : format, t.rows, t.k, vector ? 1.0f : 1.0f + static_cast<float>(t.layer)});
  }
  for (std::size_t i = 0; i + 3 < plan.size(); i += 2) std::swap(plan[i], plan[i + 3]);
  return plan;
}

// Bytes that depend on tensor, strip and place alone. One value in four, so that zstd finds something.
inline void fill_pattern(const TensorPlan& t, std::uint64_t strip, std::span<std::byte> out, std::uint64_t seed = 0) {
  std::uint64_t state = (static_cast<std::uint64_t>(t.role) + 1) * 0x9e3779b97f4a7c15 ^ (t.layer + 1) * 0xbf58476d1ce4e5b9 ^
                        (strip + 1) * 0x94d049bb133111eb ^ seed;
  for (std::byte& b : out) {
    state = state * 6364136223846793005 + 1442695040888963407;
    b = static_cast<std::byte>((state >> 60) & 3);
  }
}

inline FillStrips pattern_filler(const std::vector<TensorPlan>& plan, std::uint64_t seed = 0) {
  return [plan, seed](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
    const std::size_t each = out.size() / (end - begin);
    for (std::uint64_t s = begin; s < end; s++) fill_pattern(plan[tensor], s, out.subspan((s - begin) * each, each), seed);
  };
}

inline TokenizerData small_tokenizer() {
  TokenizerData data;
  data.tokens = {"<unk>", "<s>", "</s>", "a", "b", "ab", "\xc4\xa0", ""};
  data.kinds = {TokenKind::unknown, TokenKind::special, TokenKind::special, TokenKind::normal,
                TokenKind::normal,  TokenKind::normal,  TokenKind::normal,  TokenKind::unused};
  data.merges = {{3, 4, 5}, {6, 3, 5}};
  data.splits = {{SplitRule::Kind::digits, ""}, {SplitRule::Kind::expression, "\\p{L}+"}};
  data.add_begin = true;
  data.ignore_merges = true;
  data.begin_id = 1;
  data.end_id = 2;
  data.unknown_id = 0;
  data.end_of_turn_ids = {2, 5};
  data.chat_template = "{{ messages }}\n";
  data.template_name = "chatml";
  return data;
}

struct Sample {
  ModelDescription model = small_llama();
  quant::FormatId format = quant::FormatId::q8;
  LeafWriterOptions options{.chunk_bytes = 4096};
  bool biases = true;
  bool tokenizer = true;
  std::uint64_t seed = 0;
};

inline void write_sample(NewFile& file, const Sample& sample, ThreadTeam& team) {
  const std::vector<TensorPlan> plan = plan_of(sample.model, sample.format, sample.biases);
  const std::vector<std::byte> section = sample.tokenizer ? to_section(small_tokenizer()) : std::vector<std::byte>{};
  write_leaf(file, sample.model, plan, section, sample.options, pattern_filler(plan, sample.seed), team, {});
}

inline std::vector<std::byte> sample_bytes(const Sample& sample = {}, std::size_t threads = 1) {
  leafcutter::test::MemoryNewFile file;
  ThreadTeam team(threads);
  write_sample(file, sample, team);
  return file.bytes;
}

// Reads everything there is and checks it all.
inline void read_all(File& file) {
  const LeafIndex index = read_leaf_index(file);
  const auto section = read_tokenizer_section(file, index);
  if (!section.empty()) tokenizer_from_section(section, file.name());
  std::vector<std::byte> raw;
  for (std::size_t c = 0; c < index.chunks.size(); c++) {
    raw.resize(index.chunks[c].raw_bytes);
    read_chunk(file, index, c, raw);
  }
  verify_embedding_tiles(file, index);
}

}  // namespace leafcutter::compress::test
