#include "compress/model_description.h"

#include <doctest/doctest.h>

#include <functional>
#include <limits>

#include "compress/expected_tensors.h"
#include "compress/leaf_index.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;

namespace {

using Change = std::function<void(ModelDescription&)>;

struct BadModel {
  const char* name;
  Change change;
  const char* message;
};

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kMax = ~std::uint32_t{0};

const BadModel kBadLlama[] = {
    {"no architecture", [](auto& m) { m.architecture = ""; }, "architecture"},
    {"an architecture with a line break", [](auto& m) { m.architecture = "lla\nma"; }, "architecture"},
    {"a name with an escape sequence", [](auto& m) { m.name = "\x1b[2J"; }, "name: is no printable UTF-8"},
    {"a name that is no UTF-8", [](auto& m) { m.name = "\xff"; }, "name"},
    {"a long name", [](auto& m) { m.name = std::string(257, 'x'); }, "name, length: is 257, allowed 0 to 256"},
    {"a long source", [](auto& m) { m.source = std::string(4097, 'x'); }, "source"},
    {"dim 0", [](auto& m) { m.dim = 0; }, "dim: is 0, allowed 1 to 131072"},
    {"dim too large", [](auto& m) { m.dim = ModelLimits::kDim + 1; }, "dim"},
    {"no vocabulary", [](auto& m) { m.vocab_size = 0; }, "vocab_size"},
    {"a vocabulary too large", [](auto& m) { m.vocab_size = kMax; }, "vocab_size"},
    {"no context", [](auto& m) { m.context_length = 0; }, "context_length"},
    {"a context too long", [](auto& m) { m.context_length = ~std::uint64_t{0}; }, "context_length"},
    {"epsilon 0", [](auto& m) { m.norm_epsilon = 0; }, "norm_epsilon"},
    {"epsilon below 0", [](auto& m) { m.norm_epsilon = -1e-5f; }, "norm_epsilon"},
    {"epsilon no number", [](auto& m) { m.norm_epsilon = static_cast<float>(kNan); }, "norm_epsilon"},
    {"an unknown norm", [](auto& m) { m.norm = NormKind{9}; }, "norm"},
    {"an unknown activation", [](auto& m) { m.activation = ActivationKind{9}; }, "activation"},
    {"an unknown position", [](auto& m) { m.position = PositionKind{9}; }, "position"},
    {"an unknown scaling", [](auto& m) { m.rope.scaling = RopeScaling{9}; }, "rope.scaling"},
    {"no layers", [](auto& m) { m.layers.clear(); }, "layers"},
    {"too many layers", [](auto& m) { m.layers.assign(4097, m.layers[0]); }, "layers: is 4097"},
    {"no heads", [](auto& m) { m.layers[1].heads = 0; }, "layers[1].heads: is 0"},
    {"too many heads", [](auto& m) { m.layers[1].heads = 4097; }, "layers[1].heads"},
    {"more KV heads than heads", [](auto& m) { m.layers[1].kv_heads = 3; }, "layers[1].kv_heads"},
    {"KV heads that do not divide", [](auto& m) { m.layers[0].heads = 3; }, "layers[0].kv_heads: is 2, which does not divide 3 heads"},
    {"no KV heads", [](auto& m) { m.layers[0].kv_heads = 0; }, "layers[0].kv_heads"},
    {"an odd head", [](auto& m) { m.layers[0].head_dim = 9; }, "layers[0].head_dim: is 9, which is odd"},
    {"a head of 0", [](auto& m) { m.layers[0].head_dim = 0; }, "layers[0].head_dim"},
    {"a wide head", [](auto& m) { m.layers[0].head_dim = 1026; }, "layers[0].head_dim"},
    {"attention too wide", [](auto& m) { m.layers[0].heads = 512, m.layers[0].head_dim = 1024; }, "layers[0], heads * head_dim"},
    {"heads without attention", [](auto& m) { m.layers[2].heads = 1; }, "layers[2].heads"},
    {"no feed-forward width", [](auto& m) { m.layers[2].ff_width = 0; }, "layers[2].ff_width"},
    {"feed-forward too wide", [](auto& m) { m.layers[2].ff_width = kMax; }, "layers[2].ff_width"},
    {"a width without feed-forward", [](auto& m) { m.layers[1].ff_width = 1; }, "layers[1].ff_width"},
    {"bias columns with rope",
     [](auto& m) {
       m.layers[0].bias_columns = {0, 1, 2, 3};
     },
     "layers[0].bias_columns"},
    {"theta 0", [](auto& m) { m.rope.theta = 0; }, "rope.theta"},
    {"theta no number", [](auto& m) { m.rope.theta = kNan; }, "rope.theta"},
    {"theta without end", [](auto& m) { m.rope.theta = kInfinity; }, "rope.theta"},
    {"factor 0", [](auto& m) { m.rope.factor = 0; }, "rope.factor"},
    {"factor below 0", [](auto& m) { m.rope.factor = -8; }, "rope.factor"},
    {"attention factor below 0", [](auto& m) { m.rope.attention_factor = -1; }, "rope.attention_factor"},
    {"llama3 without its context", [](auto& m) { m.rope.scaling = RopeScaling::llama3; }, "rope.original_context"},
    {"yarn without its context", [](auto& m) { m.rope.scaling = RopeScaling::yarn; }, "rope.original_context"},
    {"llama3 with equal factors",
     [](auto& m) { m.rope.scaling = RopeScaling::llama3, m.rope.original_context = 8, m.rope.low_freq_factor = 4; },
     "rope.low_freq_factor"},
    {"an odd rotary part", [](auto& m) { m.rope.rotary_dim = 3; }, "rope.rotary_dim"},
    {"a rotary part beyond the head", [](auto& m) { m.rope.rotary_dim = 10; }, "rope.rotary_dim: is 10, allowed 0 to 8"},
    {"frequency factors of another head",
     [](auto& m) {
       m.rope.frequency_factors = {1, 1, 1, 1};
     },
     "frequency_factors, length (for layers[1])"},
    {"a frequency factor of 0",
     [](auto& m) {
       m.rope.frequency_factors = {1, 0};
     },
     "rope.frequency_factors"},
    {"an end id beyond the vocabulary", [](auto& m) { m.end_ids = {40}; }, "end_ids: is 40, allowed 0 to 39"},
    {"too many end ids", [](auto& m) { m.end_ids.assign(65, 1); }, "end_ids, length"},
    {"a begin id beyond the vocabulary", [](auto& m) { m.begin_id = 40; }, "begin_id"},
};

const BadModel kBadAnt[] = {
    {"no prompts", [](auto& m) { m.segment_bias.prompt_types = 0; }, "segment_bias.prompt_types"},
    {"too many prompt rows", [](auto& m) { m.segment_bias.prompt_length = 40000; },
     "segment_bias.prompt_length: is 40000, allowed 1 to 32768"},
    {"no segments", [](auto& m) { m.segment_bias.segment_types = 0; }, "segment_bias.segment_types"},
    {"too many segments", [](auto& m) { m.segment_bias.segment_types = 65; }, "segment_bias.segment_types"},
    {"no buckets", [](auto& m) { m.segment_bias.buckets = 0; }, "segment_bias.buckets"},
    {"buckets that cannot be quartered", [](auto& m) { m.segment_bias.buckets = 10; }, "segment_bias.buckets"},
    {"a distance within the exact ones", [](auto& m) { m.segment_bias.max_distance = 2; }, "segment_bias.max_distance"},
    {"no columns", [](auto& m) { m.segment_bias.columns = 0; }, "segment_bias.columns"},
    {"more heads than columns", [](auto& m) { m.segment_bias.columns = 3; }, "layers[0].heads (without bias_columns): is 4"},
    {"a column too far",
     [](auto& m) {
       m.layers[2].bias_columns = {0, 4};
     },
     "layers[2].bias_columns: is 4, allowed 0 to 3"},
    {"a column too few", [](auto& m) { m.layers[2].bias_columns = {0}; }, "layers[2].bias_columns, length"},
    {"columns without attention", [](auto& m) { m.layers[1].bias_columns = {0}; }, "layers[1].bias_columns"},
};

struct BadText {
  const char* name;
  std::string from, to;  // first occurrence in the good text
  const char* message;
};

const BadText kBadTexts[] = {
    {"a key twice", "\"dim\":32", "\"dim\":32,\"dim\":32", "\"dim\" comes twice"},
    {"a key of a layer twice", "\"heads\":4", "\"heads\":4,\"heads\":4", "layers[0], byte"},
    {"an unknown key", "\"dim\":32", "\"dim\":32,\"colour\":1", "field \"colour\" is not known to this program"},
    {"an unknown key of a layer", "\"heads\":4", "\"heads\":4,\"experts\":8", "field \"experts\" is not known"},
    {"an unknown key of rope", "\"theta\":", "\"phi\":1,\"theta\":", "field \"phi\" is not known"},
    {"an unknown key with an escape sequence", "\"dim\":32", "\"dim\":32,\"\\u001b[2J\\n\":1", "field \"?[2J?\" is not known"},
    {"a missing key", "\"dim\":32,", "", "has no \"dim\""},
    {"no layers at all", "\"layers\":", "\"name2\":", "field \"name2\""},
    {"a fraction for a whole number", "\"dim\":32", "\"dim\":32.0", "dim, byte"},
    {"an exponent for a whole number", "\"dim\":32", "\"dim\":3e1", "is no whole number"},
    {"a negative whole number", "\"dim\":32", "\"dim\":-32", "is no whole number"},
    {"a number of twenty digits", "\"dim\":32", "\"dim\":18446744073709551616", "is no whole number"},
    {"a leading zero", "\"dim\":32", "\"dim\":032", "begins with 0"},
    {"a string for a number", "\"dim\":32", "\"dim\":\"32\"", "expected a number"},
    {"a number for a string", "\"name\":\"small\"", "\"name\":1", "expected '\"'"},
    {"a number for a boolean", "\"tied_head\":false", "\"tied_head\":0", "expected true or false"},
    {"null", "\"begin_id\":1", "\"begin_id\":null", "expected a number"},
    {"NaN", "\"norm_epsilon\":", "\"norm_epsilon\":NaN,\"x\":", "expected a number"},
    {"a real too large", "\"theta\":10000.0", "\"theta\":1e999", "out of range"},
    {"a float too large", "\"norm_epsilon\":", "\"norm_epsilon\":1e300,\"source2\":", ""},
    {"an unknown name", "\"position\":\"rope_half\"", "\"position\":\"alibi\"", "\"alibi\" is not known"},
    {"an object for a list", "\"end_ids\":[2,39]", "\"end_ids\":{}", "expected '['"},
    {"a list for an object", "\"layers\":[", "\"layers\":[[],", "expected '{'"},
    {"a comma at the end of a list", "\"end_ids\":[2,39]", "\"end_ids\":[2,39,]", "expected a number"},
    {"no comma in a list", "\"end_ids\":[2,39]", "\"end_ids\":[2 39]", "expected ','"},
    {"an open string", "\"name\":\"small\"", "\"name\":\"small", ""},
    {"half a surrogate pair", "\"name\":\"small\"", "\"name\":\"\\ud800\"", "surrogate"},
    {"a lone low surrogate", "\"name\":\"small\"", "\"name\":\"\\udc00\"", "surrogate"},
    {"an escape that is none", "\"name\":\"small\"", "\"name\":\"\\x\"", "backslash"},
    {"a raw control character", "\"name\":\"small\"", "\"name\":\"a\tb\"", "control character"},
    {"an escaped control character", "\"name\":\"small\"", "\"name\":\"a\\u0007b\"", "no printable"},
    {"bytes that are no UTF-8", "\"name\":\"small\"", "\"name\":\"\xc3\x28\"", "no UTF-8"},
    {"a second value", "}]}", "}]}{}", "follows the end"},
    {"nothing after the colon", "\"dim\":32", "\"dim\":", ""},
    {"a comment", "\"dim\":32", "/**/\"dim\":32", ""},
    {"rope of another position", "\"position\":\"rope_half\"", "\"position\":\"segment_relative_bias\"", "has no \"segment_bias\""},
};

ModelDescription ant(std::uint32_t heads, std::uint32_t ff_width, int attention_layers, int ff_layers) {
  ModelDescription m = small_ant();
  m.dim = 4096;
  m.vocab_size = 30720;
  m.segment_bias = {.prompt_types = 32, .prompt_length = 32, .segment_types = 32, .buckets = 512, .max_distance = 2048, .columns = heads};
  m.layers.clear();
  for (int i = 0; i < 48; i++)
    m.layers.push_back(layer_of(i < attention_layers ? heads : 0, i < attention_layers ? heads : 0, i < attention_layers ? 128 : 0,
                                i < ff_layers ? ff_width : 0));
  return m;
}

}  // namespace

TEST_CASE("a description is the same after its text") {
  ModelDescription full = small_llama();
  full.rope = {.theta = 1234567.125,
               .rotary_dim = 4,
               .scaling = RopeScaling::yarn,
               .factor = 4.5,
               .low_freq_factor = 1.25,
               .high_freq_factor = 4.75,
               .beta_fast = 31,
               .beta_slow = 2,
               .attention_factor = 0.1,
               .original_context = 8192,
               .frequency_factors = {1.1f, 3.3f}};
  full.norm_epsilon = 1e-5f;
  full.name =
      "Gr\xc3\xb6\xc3\x9f"
      "e \xe5\xa4\xa7 \"q\" \\ \xf0\x9f\x8c\xbf";
  for (const ModelDescription& m : {small_llama(), small_ant(), full}) {
    const std::string text = to_json_text(m);
    const ModelDescription back = model_description_from_json(text, "a.leaf");
    CHECK(to_json_text(back) == text);
    CHECK(back.norm_epsilon == m.norm_epsilon);
    CHECK(back.rope.theta == m.rope.theta);
    CHECK(back.rope.frequency_factors == m.rope.frequency_factors);
    CHECK(back.name == m.name);
    CHECK(back.layers.size() == m.layers.size());
    CHECK(back.layers.back().bias_columns == m.layers.back().bias_columns);
    CHECK(back.begin_id == m.begin_id);
    CHECK(back.end_ids == m.end_ids);
  }
}

TEST_CASE("each bad description is refused with its field") {
  for (const auto& [good, table] :
       {std::pair{small_llama(), std::span<const BadModel>(kBadLlama)}, {small_ant(), std::span<const BadModel>(kBadAnt)}}) {
    CHECK_NOTHROW(validate(good, "a.leaf"));
    for (const BadModel& bad : table) {
      CAPTURE(bad.name);
      ModelDescription m = good;
      bad.change(m);
      expect_error([&] { validate(m, "a.leaf"); }, {"a.leaf, model description, ", bad.message});
      CHECK(error_of([&] { to_json_text(m); }).has_value());
    }
  }
}

TEST_CASE("each bad text is refused with place and reason") {
  const std::string good = to_json_text(small_llama());
  for (const BadText& bad : kBadTexts) {
    CAPTURE(bad.name);
    std::string text = good;
    const std::size_t at = text.find(bad.from);
    REQUIRE(at != std::string::npos);
    text.replace(at, bad.from.size(), bad.to);
    expect_error([&] { model_description_from_json(text, "a.leaf"); }, {"a.leaf, model description", bad.message});
  }
}

TEST_CASE("every cut of a text is refused, and so is every byte turned into another bracket") {
  const std::string good = to_json_text(small_ant());
  for (std::size_t n = 0; n < good.size(); n++)
    CHECK(error_of([&] { model_description_from_json(good.substr(0, n), "a.leaf"); }).has_value());
  for (char c : {'{', '[', '"', '\\', '\0'})
    for (std::size_t i = 0; i < good.size(); i++) {
      std::string text = good;
      if (text[i] == c) continue;
      text[i] = c;
      // Within a name a bracket is a letter like others: what is accepted must be sound.
      const auto message = error_of([&] { validate(model_description_from_json(text, "a.leaf"), "a.leaf"); });
      if (message) CHECK(message->find("a.leaf, model description") == 0);
    }
}

TEST_CASE("white space, any order of fields and escapes are read") {
  const ModelDescription m = model_description_from_json(
      " {\t\"layers\" :\n[ { } , {\"ff_width\": 3} ],\"tied_head\":true, "
      "\"activation\":\"gelu_tanh\",\"rope\":{},\"position\":\"rope_half\",\r\n"
      "\"norm_epsilon\":1E-5,\"norm\":\"rms\",\"context_length\":16,\"vocab_size\":7,\"dim\":5,\"architecture\":\"a\\u00e9\\ud83c\\udf3f\\/"
      "\"} ",
      "a.leaf");
  CHECK(m.architecture == "a\xc3\xa9\xf0\x9f\x8c\xbf/");
  CHECK(m.layers.size() == 2);
  CHECK_FALSE(m.layers[0].has_attention);
  CHECK_FALSE(m.layers[0].has_feed_forward);
  CHECK(m.layers[1].ff_width == 3);
  CHECK(m.rope.theta == 10000);
  CHECK(m.name.empty());
}

TEST_CASE("parameters of known models are counted") {
  ModelDescription wukong = small_llama();
  wukong.dim = 2048;
  wukong.vocab_size = 32000;
  wukong.layers.assign(22, layer_of(32, 4, 64, 5632));
  CHECK(parameter_count(wukong) == 1'100'048'384);
  wukong.tied_head = true;
  CHECK(parameter_count(wukong) == 1'100'048'384 - 32000 * 2048);

  CHECK(parameter_count(ant(32, 10240, 48, 48)) == 9'391'624'192);
  CHECK(parameter_count(ant(32, 10240, 37, 32)) == 6'640'050'176);
  CHECK(parameter_count(ant(20, 3735, 37, 32)) == 3'151'026'176);
  CHECK(parameter_count(ant(16, 700, 25, 21)) == 1'149'865'984);
  CHECK(parameter_count(ant(4, 350, 25, 21)) == 430'385'152);
}

TEST_CASE("the expected tensors are in the order of a file, and no more than an index may have") {
  ModelDescription largest = small_llama();
  largest.layers.assign(ModelLimits::kLayers, layer_of(1, 1, 2, 1));
  for (const ModelDescription& m : {small_llama(), small_ant(), largest}) {
    const std::vector<ExpectedTensor> expected = expected_tensors(m);
    CHECK(expected.size() <= LeafLimits::kTensors);
    bool rising = true;
    for (std::size_t i = 1; i < expected.size(); i++)
      rising = rising && tensor_order(expected[i - 1].role, expected[i - 1].layer) < tensor_order(expected[i].role, expected[i].layer);
    CHECK(rising);
  }
}

TEST_CASE("a text that is too long is refused, and one that is made too long is not written") {
  expect_error([] { model_description_from_json(std::string(ModelLimits::kDescriptionBytes + 1, ' '), "a.leaf"); }, {"allowed 8388608"});
  ModelDescription m = small_ant();
  m.segment_bias.columns = 4096;
  m.layers.assign(ModelLimits::kLayers, layer_of(512, 512, 2, 0));
  for (LayerDescription& layer : m.layers) layer.bias_columns.assign(512, 4000);
  expect_error([&] { to_json_text(m); }, {"is longer than 8388608 bytes"});
}

TEST_CASE("every role has a name and a module, what is no role has neither") {
  int known = 0;
  for (std::uint32_t id = 0; id <= 0xffff; id++) {
    if (!is_known_role(static_cast<std::uint16_t>(id))) continue;
    const auto role = static_cast<TensorRole>(id);
    CHECK(std::string(role_name(role)) != "?");
    CHECK((module_of(role) == ModuleKind::vectors) == is_vector_role(role));
    known++;
  }
  CHECK(known == 22);
  CHECK(std::string(role_name(TensorRole{3})) == "?");
  CHECK(std::string(role_name(TensorRole::feed_forward_down_bias)) == "feed_forward_down_bias");
  CHECK_FALSE(is_layer_role(TensorRole::position_bias));
  CHECK(is_layer_role(TensorRole::attention_k_bias));
  CHECK(std::string(module_kind_name(ModuleKind{9})) == "?");
}
