#include "compress/gguf_model.h"

#include <doctest/doctest.h>

#include <functional>

#include "compress/source_check.h"
#include "tests/compress/gguf_bytes.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using compress::test::bytes_of_floats;
using compress::test::GgufBytes;
using compress::test::small_llama_gguf;

namespace {

CheckpointSource open(const GgufBytes& g) {
  const leafcutter::test::TemporaryFolder folder;
  leafcutter::test::write_whole_file(folder.file("model.gguf"), g.file());
  return open_checkpoint(folder.file("model.gguf"));
}

const SourceTensor& tensor_of(const CheckpointSource& source, TensorRole role, std::uint32_t layer = 0) {
  for (const SourceTensor& tensor : source.tensors)
    if (tensor.role == role && tensor.layer == layer) return tensor;
  FAIL("no such tensor");
  return source.tensors[0];
}

std::vector<float> row_of(const CheckpointSource& source, const SourceTensor& tensor, std::uint64_t row) {
  std::vector<std::byte> bytes(quant::source_row_bytes(tensor.type, tensor.k));
  read_exactly(*source.files[tensor.file], tensor.offset + tensor.source_row(row) * bytes.size(), bytes, "row");
  std::vector<float> values(tensor.k);
  quant::decode_source_row(tensor.type, bytes, tensor.k, values.data());
  return values;
}

GgufBytes without(const std::string& name) {
  GgufBytes g = small_llama_gguf();
  std::erase_if(g.tensors, [&](const GgufBytes::Tensor& t) { return t.name == name; });
  return g;
}

// The metadata of the small model, but for some keys.
GgufBytes with_metadata(const std::function<void(GgufBytes&)>& put) {
  GgufBytes g;
  put(g);
  g.tensors = small_llama_gguf().tensors;
  return g;
}

void put_sizes(GgufBytes& g, std::uint32_t heads = 4, std::uint32_t kv_heads = 2, std::uint32_t dim = 16, std::uint32_t layers = 2) {
  g.put("general.architecture", "llama").put("llama.embedding_length", dim).put("llama.block_count", layers);
  g.put("llama.context_length", 64u).put("llama.feed_forward_length", 24u);
  g.put("llama.attention.head_count", heads).put("llama.attention.head_count_kv", kv_heads);
}

struct BadModel {
  std::string name;
  std::function<GgufBytes()> make;
  const char* part;
};

const BadModel kBadModels[] = {
    {"no metadata", [] { return with_metadata([](GgufBytes&) {}); }, "architecture"},
    {"another architecture", [] { return with_metadata([](GgufBytes& g) { g.put("general.architecture", "gemma2"); }); }, "gemma2"},
    {"no sizes", [] { return with_metadata([](GgufBytes& g) { g.put("general.architecture", "llama"); }); }, "llama.embedding_length"},
    {"0 heads", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 0); }); }, "head_count"},
    {"2^31 heads", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 1u << 31); }); }, "head_count"},
    {"3 KV heads for 4 heads", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 3); }); }, "kv"},
    {"0 layers", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 16, 0); }); }, "block_count"},
    {"2^32 - 1 layers", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 16, ~0u); }); }, "block_count"},
    {"a layer too many", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 16, 3); }); }, "layer 2"},
    {"a layer too few", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 16, 1); }); }, "belongs to no layer"},
    {"dim 2^31", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 1u << 31); }); }, "embedding_length"},
    {"another dim than the tensors", [] { return with_metadata([](GgufBytes& g) { put_sizes(g, 4, 2, 32); }); }, "expected"},
    {"experts", [] { return with_metadata([](GgufBytes& g) { put_sizes(g), g.put("llama.expert_count", 8u); }); }, "experts"},
    {"heads for the wrong number of layers",
     [] {
       return with_metadata([](GgufBytes& g) {
         g.put("general.architecture", "llama").put("llama.embedding_length", 16u).put("llama.block_count", 2u);
         g.put("llama.context_length", 64u).put("llama.feed_forward_length", 24u);
         g.put_array("llama.attention.head_count", GgufType::u32, 3, GgufBytes::raw(4u) + GgufBytes::raw(4u) + GgufBytes::raw(4u));
       });
     },
     "3 values for 2 layers"},
    {"a scaling that is not served", [] { return small_llama_gguf().put("llama.rope.scaling.type", "longrope"); }, "longrope"},
    {"another scaling that is not served", [] { return small_llama_gguf().put("llama.rope.scaling.type", "dynamic"); }, "dynamic"},
    {"a factor of 0", [] { return small_llama_gguf().put("llama.rope.scaling.type", "linear").put("llama.rope.scaling.factor", 0.0f); },
     "factor"},
    {"theta NaN", [] { return small_llama_gguf().put("llama.rope.freq_base", std::numeric_limits<float>::quiet_NaN()); }, "freq_base"},
    {"values of another length", [] { return small_llama_gguf().put("llama.attention.value_length", 8u); }, "value_length"},
    {"no embedding", [] { return without("token_embd.weight"); }, ""},
    {"no norm", [] { return without("output_norm.weight"); }, "output_norm"},
    {"no q", [] { return without("blk.1.attn_q.weight"); }, "layer 1"},
    {"no down", [] { return without("blk.0.ffn_down.weight"); }, "layer 0"},
    {"rope_freqs of another type",
     [] {
       GgufBytes g = small_llama_gguf();
       g.tensors.push_back({"rope_freqs.weight", {2}, 1, std::vector<std::byte>(4)});
       return g;
     },
     "rope_freqs.weight"},
    {"rope_freqs of another length",
     [] {
       GgufBytes g = small_llama_gguf();
       g.tensors.push_back({"rope_freqs.weight", {3}, 0, bytes_of_floats({1, 1, 1})});
       return g;
     },
     "factors"},
    {"rope_freqs with NaN",
     [] {
       GgufBytes g = small_llama_gguf();
       g.tensors.push_back({"rope_freqs.weight", {2}, 0, bytes_of_floats({1, std::numeric_limits<float>::quiet_NaN()})});
       return g;
     },
     "factors"},
    {"no tokens for a tokenizer", [] { return small_llama_gguf().put("tokenizer.ggml.model", "gpt2").put("tokenizer.ggml.pre", "smollm"); },
     "tokenizer.ggml.tokens"},
    {"types for another number of tokens",
     [] {
       GgufBytes g = small_llama_gguf();
       g.put("tokenizer.ggml.model", "gpt2").put_texts("tokenizer.ggml.tokens", {"a", "b"});
       return g.put_array("tokenizer.ggml.token_type", GgufType::i32, 1, GgufBytes::raw(1));
     },
     "1 types for 2 tokens"},
    {"a merge without a space",
     [] {
       GgufBytes g = small_llama_gguf();
       return g.put("tokenizer.ggml.model", "gpt2")
           .put_texts("tokenizer.ggml.tokens", {"a", "b", "ab"})
           .put_texts("tokenizer.ggml.merges", {"ab"});
     },
     "merge 0 has no space"},
};

}  // namespace

TEST_CASE("metadata and tensors of a LLaMA GGUF become a description, roles and rows") {
  GgufBytes g = small_llama_gguf();
  g.put("general.name", "small").put("llama.rope.freq_base", 5e5f);
  const CheckpointSource source = open(g);
  CHECK(source.model.name == "small");
  CHECK(source.model.dim == 16);
  CHECK(source.model.vocab_size == 40);
  CHECK(source.model.layers.size() == 2);
  CHECK(source.model.layers[1].heads == 4);
  CHECK(source.model.layers[1].kv_heads == 2);
  CHECK(source.model.layers[1].head_dim == 4);
  CHECK(source.model.layers[1].ff_width == 24);
  CHECK(source.model.rope.theta == 5e5);
  CHECK_FALSE(source.model.tied_head);
  CHECK(source.tensors.size() == g.tensors.size());
  CHECK(row_of(source, tensor_of(source, TensorRole::feed_forward_down, 1), 2)[1] == doctest::Approx(20.0f + 49.0f / 1024));
  CHECK(open(without("output.weight")).model.tied_head);
}

TEST_CASE("rows of q and k, permuted by the converter for interleaved pairs, come back in the order of the checkpoint") {
  // The converter turns each head's rows [a0 a1 | b0 b1] (halves) into [a0 b0 a1 b1].
  const CheckpointSource source = open(small_llama_gguf());
  const auto first_values = [&](TensorRole role, std::uint32_t rows) {
    std::vector<float> values;
    for (std::uint32_t r = 0; r < rows; r++) values.push_back(row_of(source, tensor_of(source, role), r)[0]);
    return values;
  };
  const auto q = first_values(TensorRole::attention_q, 16), k = first_values(TensorRole::attention_k, 8),
             v = first_values(TensorRole::attention_v, 8);
  for (std::uint32_t head = 0; head < 4; head++)
    for (std::uint32_t r = 0; r < 4; r++) {
      const std::uint32_t stored = head * 4 + r % 2 * 2 + r / 2;
      CHECK(q[head * 4 + r] == 4 + static_cast<float>(stored * 16) / 1024);
      if (head < 2) CHECK(k[head * 4 + r] == 5 + static_cast<float>(stored * 16) / 1024);
      if (head < 2) CHECK(v[head * 4 + r] == 6 + static_cast<float>((head * 4 + r) * 16) / 1024);
    }
}

TEST_CASE("factors of rope_freqs.weight and scalings of the metadata are honoured") {
  GgufBytes g = small_llama_gguf();
  g.tensors.push_back({"rope_freqs.weight", {2}, 0, bytes_of_floats({1, 8})});
  CHECK(open(g).model.rope.frequency_factors == std::vector<float>{1, 8});
  const CheckpointSource linear = open(small_llama_gguf().put("llama.rope.scaling.type", "linear").put("llama.rope.scaling.factor", 4.0f));
  CHECK(linear.model.rope.scaling == RopeScaling::linear);
  CHECK(linear.model.rope.factor == 4);
  GgufBytes yarn = small_llama_gguf();
  yarn.put("llama.rope.scaling.type", "yarn").put("llama.rope.scaling.factor", 2.0f).put("llama.rope.scaling.original_context_length", 32u);
  CHECK(open(yarn).model.rope.original_context == 32);
}

TEST_CASE("a GGUF that is no model we can run is refused with file and reason") {
  for (const BadModel& bad : kBadModels) {
    CAPTURE(bad.name);
    leafcutter::test::expect_error([&] { open(bad.make()); }, {"model.gguf", bad.part});
  }
}

TEST_CASE("a tokenizer that is not served leaves a model that runs on ids, and a note") {
  GgufBytes g = small_llama_gguf();
  g.put("tokenizer.ggml.model", "bert").put_texts("tokenizer.ggml.tokens", {"a", "b"});
  const CheckpointSource source = open(g);
  CHECK_FALSE(source.tokenizer.has_value());
  REQUIRE(source.notes.size() == 1);
  CHECK(source.notes[0].find("\"bert\"") != std::string::npos);
}

TEST_CASE("a file that claims much costs little: 2^20 tensors, long arrays, huge texts in a few hundred bytes") {
  const leafcutter::test::TemporaryFolder folder;
  const std::string many =
      "GGUF" + GgufBytes::raw(3u) + GgufBytes::raw<std::uint64_t>(65536) + GgufBytes::raw<std::uint64_t>(4096) + std::string(200, '\0');
  leafcutter::test::write_whole_file(folder.file("model.gguf"), std::as_bytes(std::span(many)));
  leafcutter::test::expect_error([&] { open_checkpoint(folder.file("model.gguf")); }, {"model.gguf"});
}
