#include "compress/hf_config.h"

#include <doctest/doctest.h>

#include "compress/json_document.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;

namespace {

ModelDescription read(const std::string& text) { return llama_from_hf_config(parse_json_document(text, "config.json"), "config.json"); }

// A config of a small model with `more` members put behind the others (the last one of a name counts).
std::string with(const std::string& more) {
  return R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"num_hidden_layers":3,"num_attention_heads":4,
    "num_key_value_heads":2,"intermediate_size":96,"vocab_size":100,"max_position_embeddings":128)" +
         (more.empty() ? "" : "," + more) + "}";
}

struct BadConfig {
  std::string text;
  const char* part;
};

const BadConfig kBadConfigs[] = {
    {"", "no JSON at byte"},
    {"[1, 2]", "no JSON object"},
    {"{\"a\": 1", "no JSON at byte"},
    {std::string(100'000, '['), "nested deeper than 32"},
    {"{\"a\":" + std::string(1 << 20, ' ') + "1}", "at most 1048576"},
    {"{}", "model_type"},
    {R"({"model_type":"mistral"})", "\"mistral\" is not served"},
    {R"({"architectures":["Qwen2ForCausalLM"],"model_type":"llama"})", "\"Qwen2ForCausalLM\" is not served"},
    {R"({"model_type":7})", "field model_type: expected a text, found 7"},
    {with(R"("hidden_size":0)"), "field hidden_size: expected 1 to"},
    {with(R"("hidden_size":-64)"), "field hidden_size: expected a whole number, found -64"},
    {with(R"("hidden_size":64.5)"), "field hidden_size"},
    {with(R"("hidden_size":"64")"), "field hidden_size"},
    {with(R"("hidden_size":18446744073709551615)"), "field hidden_size"},
    {with(R"("hidden_size":1e400)"), "past the range of doubles"},
    {with(R"("num_hidden_layers":1000000000)"), "field num_hidden_layers"},
    {with(R"("num_attention_heads":0)"), "field num_attention_heads"},
    {with(R"("num_attention_heads":128)"), "field head_dim"},
    {with(R"("num_key_value_heads":[2])"), "field num_key_value_heads"},
    {with(R"("intermediate_size":99999999999)"), "field intermediate_size"},
    {with(R"("vocab_size":99999999999)"), "field vocab_size"},
    {with(R"("rms_norm_eps":"small")"), "field rms_norm_eps"},
    {with(R"("tie_word_embeddings":"yes")"), "field tie_word_embeddings"},
    {with(R"("hidden_act":"relu2")"), "field hidden_act: \"relu2\" is not served"},
    {with(R"("rope_theta":[1])"), "field rope_theta"},
    {with(R"("rope_scaling":{"type":"dynamic","factor":2.0})"), "field rope_scaling: \"dynamic\" is not served"},
    {with(R"("rope_scaling":{"rope_type":"longrope","factor":2.0})"), "field rope_scaling: \"longrope\" is not served"},
    {with(R"("rope_scaling":{"rope_type":"su\n\u001b[31m"})"), "is not served"},
    {with(R"("rope_scaling":{"rope_type":"linear","factor":"two"})"), "field factor"},
    {with(R"("rope_parameters":{"rope_type":"yarn","factor":2,"mscale":1})"), "mscale is not served"},
};

}  // namespace

TEST_CASE("a LLaMA config becomes a description, with transformers' defaults for what is missing") {
  const ModelDescription model = read(with(""));
  CHECK(model.dim == 64);
  CHECK(model.layers.size() == 3);
  CHECK(model.layers[2].heads == 4);
  CHECK(model.layers[2].kv_heads == 2);
  CHECK(model.layers[2].head_dim == 16);
  CHECK(model.layers[2].ff_width == 96);
  CHECK(model.norm_epsilon == 1e-6f);
  CHECK(model.rope.theta == 10000);
  CHECK_FALSE(model.tied_head);
  CHECK(read(with(R"("num_key_value_heads":null)")).layers[0].kv_heads == 4);
  CHECK(read(with(R"("head_dim":24)")).layers[0].head_dim == 24);
  CHECK(read(with(R"("tie_word_embeddings":true)")).tied_head);
}

TEST_CASE("scalings are read in the spellings of old and new configs") {
  for (const char* key : {R"("rope_scaling":{"type")", R"("rope_scaling":{"rope_type")", R"("rope_parameters":{"rope_type")"}) {
    CAPTURE(std::string(key));
    const ModelDescription linear = read(with(std::string(key) + R"(:"linear","factor":4.0})"));
    CHECK(linear.rope.scaling == RopeScaling::linear);
    CHECK(linear.rope.factor == 4);
    const ModelDescription llama3 = read(
        with(std::string(key) + R"(:"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64})"));
    CHECK(llama3.rope.scaling == RopeScaling::llama3);
    CHECK(llama3.rope.high_freq_factor == 4);
    CHECK(llama3.rope.original_context == 64);
    CHECK(read(with(std::string(key) + R"(:"default"})")).rope.scaling == RopeScaling::none);
  }
  CHECK(read(with(R"("rope_parameters":{"rope_type":"default","rope_theta":123456.0})")).rope.theta == 123456);
  CHECK(read(with(R"("rope_scaling":null)")).rope.scaling == RopeScaling::none);
}

TEST_CASE("a config that cannot be is refused with file, field and what was found") {
  for (const BadConfig& bad : kBadConfigs) {
    CAPTURE(bad.text.substr(0, 300));
    leafcutter::test::expect_error([&] { read(bad.text); }, {"config.json", bad.part});
  }
}
