// Folders that say they are CPM-Ant's and are wrong in one thing.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "compress/checkpoint_source.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using nlohmann::json;

namespace {

constexpr std::uint64_t kDim = 16, kVocab = 20, kFf = 24, kHeads = 2, kHeadDim = 4, kLayers = 2, kPromptRows = 6, kSegments = 3,
                        kBuckets = 8;

using Shapes = std::map<std::string, std::vector<std::uint64_t>>;

struct Folder {
  json config;
  Shapes tensors;
  json side;         // null: none
  std::string text;  // instead of the config
};

json live_config() {
  return {{"vocab_size", kVocab},
          {"eps", 1e-6},
          {"half", true},
          {"mask_modules", nullptr},
          {"dim_model", kDim},
          {"dim_ff", kFf},
          {"num_layers", kLayers},
          {"num_heads", kHeads},
          {"dim_head", kHeadDim},
          {"prompt_types", 3},
          {"prompt_length", 2},
          {"position_bias_num_buckets", kBuckets},
          {"segment_types", kSegments},
          {"position_bias_max_distance", 64}};
}

Folder live_folder() {
  Folder folder{live_config(), {}, {}, {}};
  for (std::uint64_t i = 0; i < kLayers; i++) {
    const std::string layer = "encoder.layers." + std::to_string(i) + ".";
    folder.tensors[layer + "self_att.layernorm_before_attention.weight"] = {kDim};
    for (const char* part : {"project_q", "project_k", "project_v"})
      folder.tensors[layer + "self_att.self_attention." + part + ".weight"] = {kHeads * kHeadDim, kDim};
    folder.tensors[layer + "self_att.self_attention.attention_out.weight"] = {kDim, kHeads * kHeadDim};
    folder.tensors[layer + "ffn.layernorm_before_ffn.weight"] = {kDim};
    for (const char* part : {"w_in.w_0", "w_in.w_1"}) folder.tensors[layer + "ffn.ffn." + part + ".weight"] = {kFf, kDim};
    folder.tensors[layer + "ffn.ffn.w_out.weight"] = {kDim, kFf};
  }
  folder.tensors["encoder.output_layernorm.weight"] = {kDim};
  folder.tensors["prompt_embedding.weight"] = {kPromptRows, kDim};
  folder.tensors["segment_embedding.weight"] = {kSegments, kDim};
  folder.tensors["input_embedding.weight"] = {kVocab, kDim};
  folder.tensors["position_bias.relative_attention_bias"] = {kSegments * kSegments + kBuckets, kHeads};
  return folder;
}

Folder hf_folder() {
  Folder folder = live_folder();
  folder.config["model_type"] = "cpmant";
  folder.tensors.erase("prompt_embedding.weight");
  folder.tensors["input_embedding.weight"] = {kVocab + kPromptRows, kDim};
  return folder;
}

void write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
}

void write_folder(const test::TemporaryFolder& target, const Folder& folder) {
  write(target.file("config.json"), folder.text.empty() ? folder.config.dump() : folder.text);
  if (!folder.side.is_null()) write(target.file("model.safetensors.cnofig.json"), folder.side.dump());
  json header;
  std::uint64_t at = 0;
  for (const auto& [name, shape] : folder.tensors) {
    std::uint64_t bytes = 4;
    for (std::uint64_t n : shape) bytes *= n;
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  const std::string text = header.dump();
  const std::uint64_t size = text.size();
  write(target.file("model.safetensors"), std::string(reinterpret_cast<const char*>(&size), sizeof size) + text + std::string(at, '\0'));
}

CheckpointSource open(const Folder& folder) {
  const test::TemporaryFolder target;
  write_folder(target, folder);
  return open_checkpoint(target.path());
}

struct Wrong {
  const char* what;
  std::function<Folder()> make;
  std::vector<std::string> parts;
};

std::vector<std::string> names_of(const CheckpointSource& source) {
  std::vector<std::string> names;
  for (const SourceTensor& tensor : source.tensors) names.push_back(role_name(tensor.role) + std::to_string(tensor.layer));
  return names;
}

Folder changed(Folder folder, const std::function<void(Folder&)>& change) {
  change(folder);
  return folder;
}

Wrong config_field(const char* field, json value, std::vector<std::string> parts) {
  return {field, [field, value] { return changed(live_folder(), [&](Folder& f) { f.config[field] = value; }); }, std::move(parts)};
}

Wrong tensor_shape(const char* name, std::vector<std::uint64_t> shape, std::vector<std::string> parts) {
  return {name, [name, shape] { return changed(live_folder(), [&](Folder& f) { f.tensors[name] = shape; }); }, std::move(parts)};
}

Wrong without(const char* name, std::vector<std::string> parts) {
  return {name, [name] { return changed(live_folder(), [&](Folder& f) { f.tensors.erase(name); }); }, std::move(parts)};
}

Wrong side_file(const char* what, json side, std::vector<std::string> parts) {
  return {what, [side] { return changed(live_folder(), [&](Folder& f) { f.side = side; }); }, std::move(parts)};
}

json pairs(std::size_t count, const json& pair) {
  json list = json::array();
  for (std::size_t i = 0; i < count; i++) list.push_back(pair);
  return list;
}

constexpr const char* kQ1 = "encoder.layers.1.self_att.self_attention.project_q.weight";

}  // namespace

TEST_CASE("the folders that the hostile ones are made from are taken") {
  CHECK(open(live_folder()).model.tied_head);
  CHECK(open(hf_folder()).model.tied_head);
}

TEST_CASE("names that DataParallel put its prefix before are the same names") {
  for (const auto& [plain, prefix] : {std::pair{live_folder(), "module."}, {hf_folder(), "module."}, {hf_folder(), "module.cpmant."}}) {
    Folder parallel = plain;
    parallel.tensors.clear();
    for (const auto& [name, shape] : plain.tensors) parallel.tensors[prefix + name] = shape;
    CHECK(names_of(open(parallel)) == names_of(open(plain)));
    parallel.tensors["encoder.output_layernorm.weight"] = {kDim};  // once with and once without
    test::expect_error([&] { open(parallel); }, {"encoder.output_layernorm.weight", "a second output_norm"});
  }
}

TEST_CASE("configs that cannot be are refused by field") {
  const Wrong table[] = {
      config_field("dim_model", 0, {"config.json, field dim_model", "found 0"}),
      config_field("dim_model", 1ull << 40, {"field dim_model", "expected 1 to"}),
      config_field("dim_model", -4, {"field dim_model", "whole number"}),
      config_field("dim_model", "wide", {"field dim_model", "whole number"}),
      config_field("num_heads", 1u << 30, {"field num_heads"}),
      config_field("num_layers", 1u << 30, {"field num_layers"}),
      config_field("dim_head", 4096, {"field dim_head"}),
      config_field("dim_ff", 1u << 31, {"field dim_ff"}),
      config_field("vocab_size", 1u << 31, {"field vocab_size"}),
      config_field("vocab_size", nullptr, {"config.json", "has no vocab_size"}),
      config_field("prompt_length", 1u << 20, {"field prompt_length"}),
      config_field("segment_types", 65, {"field segment_types"}),
      config_field("position_bias_num_buckets", 10, {"buckets"}),
      config_field("position_bias_max_distance", 1, {"max_distance"}),
      config_field("eps", 0, {"norm_epsilon"}),
      config_field("mask_modules", pairs(1, {false, false}), {"field mask_modules", "expected a list of 2 pairs", "one of 1"}),
      config_field("mask_modules", pairs(3, {false, false}), {"field mask_modules", "one of 3"}),
      config_field("mask_modules", pairs(2, {false}), {"field mask_modules", "entry 0"}),
      config_field("mask_modules", pairs(2, {false, "no"}), {"field mask_modules", "entry 0"}),
      config_field("mask_modules", json{{"0", true}}, {"field mask_modules", "object"}),
      config_field("mask_modules", pairs(2, {true, true}), {"no layer has any weights"}),
      config_field("hidden_size", 32, {"field hidden_size", "differs from dim_model"}),
      {"deep nesting",
       [] { return changed(live_folder(), [](Folder& f) { f.text = std::string(100000, '['); }); },
       {"config.json", "nested deeper"}},
      {"no JSON",
       [] { return changed(live_folder(), [](Folder& f) { f.text = "{\"dim_model\": 16,"; }); },
       {"config.json", "no JSON at byte"}},
  };
  for (const Wrong& wrong : table) {
    CAPTURE(wrong.what);
    const auto start = std::chrono::steady_clock::now();
    const std::optional<std::string> message = test::error_of([&] { open(wrong.make()); });
    REQUIRE(message.has_value());
    CAPTURE(*message);
    CHECK(message->find('\n') == std::string::npos);
    for (const std::string& part : wrong.parts) CHECK_MESSAGE(message->find(part) != std::string::npos, part);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
  }
}

TEST_CASE("tensors that are missing, misshapen or unknown are refused by name") {
  const Wrong table[] = {
      without(kQ1, {"has no attention_q of layer 1"}),
      without("encoder.layers.0.self_att.layernorm_before_attention.weight", {"has no attention_norm of layer 0"}),
      without("encoder.layers.1.ffn.ffn.w_out.weight", {"has no feed_forward_down of layer 1"}),
      without("input_embedding.weight", {"has no embedding"}),
      without("prompt_embedding.weight", {"has no prompt_embedding"}),
      without("segment_embedding.weight", {"has no segment_embedding"}),
      without("position_bias.relative_attention_bias", {"has no position_bias"}),
      without("encoder.output_layernorm.weight", {"has no output_norm"}),
      tensor_shape(kQ1, {4, 16}, {std::string("tensor ") + kQ1, "expected 8 x 16, found 4 x 16"}),
      tensor_shape(kQ1, {8, 16, 1}, {std::string("tensor ") + kQ1, "3 dimensions"}),
      tensor_shape(kQ1, {0, 16}, {std::string("tensor ") + kQ1}),
      tensor_shape("encoder.layers.0.ffn.ffn.w_out.weight", {16, 23}, {"w_out.weight", "expected 16 x 24, found 16 x 23"}),
      tensor_shape("position_bias.relative_attention_bias", {17, 4}, {"layer 0", "kept 2 of 4 heads", "masks.pt"}),
      tensor_shape("position_bias.relative_attention_bias", {17, 1}, {"layers[0].heads", "is 2"}),
      tensor_shape("position_bias.relative_attention_bias", {16, 2},
                   {"tensor position_bias.relative_attention_bias", "expected 17 x 2, found 16 x 2"}),
      tensor_shape("position_bias.relative_attention_bias", {1, 70000}, {"segment_bias.columns"}),
      tensor_shape("encoder.layers.2.ffn.layernorm_before_ffn.weight", {16},
                   {"encoder.layers.2.ffn.layernorm_before_ffn.weight", "belongs to no layer"}),
      tensor_shape("encoder.layers.99999.ffn.layernorm_before_ffn.weight", {16},
                   {"encoder.layers.99999", "is no tensor of a CPM-Ant model"}),
      tensor_shape("encoder.layers.0.self_att.self_attention.project_q.lora.lora_A", {8, 16},
                   {"lora_A", "is no tensor of a CPM-Ant model"}),
      tensor_shape("lm_head.weight", {20, 16}, {"tensor lm_head.weight", "no head of its own"}),
      tensor_shape("cpmant.input_embedding.weight", {20, 16}, {"input_embedding.weight", "a second embedding"}),
      {"a prompt table in Hugging Face's form",
       [] { return changed(hf_folder(), [](Folder& f) {
              f.tensors["prompt_embedding.weight"] = {kPromptRows, kDim};
            }); },
       {"prompt_embedding.weight", "config"}},
      {"an embedding without prompt rows",
       [] { return changed(hf_folder(), [](Folder& f) {
              f.tensors["input_embedding.weight"] = {kVocab, kDim};
            }); },
       {"input_embedding.weight", "expected 26 x 16"}},
      {"a narrow head",
       [] { return changed(hf_folder(), [](Folder& f) {
              f.tensors["lm_head.weight"] = {kVocab - 1, kDim};
            }); },
       {"lm_head.weight", "expected 20 x 16, found 19 x 16"}},
      {"a missing layer in Hugging Face's form",
       [] {
         return changed(hf_folder(), [](Folder& f) {
           std::erase_if(f.tensors, [](const auto& t) { return t.first.find("layers.1.ffn") != std::string::npos; });
         });
       },
       {"has no feed_forward_gate of layer 1"}},
  };
  for (const Wrong& wrong : table) {
    CAPTURE(wrong.what);
    const std::optional<std::string> message = test::error_of([&] { open(wrong.make()); });
    REQUIRE(message.has_value());
    CAPTURE(*message);
    for (const std::string& part : wrong.parts) CHECK_MESSAGE(message->find(part) != std::string::npos, part);
  }
}

TEST_CASE("side files that cannot be are refused by field") {
  const Wrong table[] = {
      side_file("a list too short", {{"num_heads", {2.0}}}, {"cnofig.json, field num_heads", "has 1 entries, the model has 2 layers"}),
      side_file("half a head", {{"num_heads", {2.0, 1.5}}}, {"field num_heads", "whole numbers", "1.5"}),
      side_file("a negative width", {{"dim_ff", {24.0, -1.0}}}, {"field dim_ff"}),
      side_file("a huge width", {{"dim_ff", {24.0, 1e300}}}, {"field dim_ff"}),
      side_file("no list", {{"dim_ff", 24}}, {"field dim_ff", "is no list"}),
      side_file("an index that is none", {{"att", {{"x", true}}}}, {"field att", "\"x\""}),
      side_file("an index too large", {{"ffn", {{"2", true}}}}, {"field ffn", "\"2\"", "below 2"}),
      side_file("a width that the weights do not have", {{"dim_ff", {24.0, 12.0}}},
                {"tensor encoder.layers.1.ffn.ffn.w_in.w_0.weight", "expected 12 x 16, found 24 x 16"}),
      side_file("fewer heads, no masks", {{"num_heads", {2.0, 1.0}}}, {"layer 1", "kept 1 of 2 heads"}),
  };
  for (const Wrong& wrong : table) {
    CAPTURE(wrong.what);
    const std::optional<std::string> message = test::error_of([&] { open(wrong.make()); });
    REQUIRE(message.has_value());
    CAPTURE(*message);
    for (const std::string& part : wrong.parts) CHECK_MESSAGE(message->find(part) != std::string::npos, part);
  }
}

TEST_CASE("both known forms of the side file remove parts") {
  const json forms[] = {
      {{"att", {{"1", true}}}, {"ffn", {{"0", true}}}, {"num_heads", {2.0, 2.0}}, {"dim_ff", {24.0, 24.0}}},
      {{"mask_modules", {{false, true}, {true, false}}}, {"num_heads", {2, 2}}, {"dim_head", {4, 4}}, {"dim_ff", {24, 24}}}};
  for (const json& side : forms) {
    CAPTURE(side.dump());
    const CheckpointSource source = open(changed(live_folder(), [&](Folder& f) { f.side = side; }));
    CHECK(source.model.layers[0].has_attention);
    CHECK(!source.model.layers[0].has_feed_forward);
    CHECK(!source.model.layers[1].has_attention);
    CHECK(source.model.layers[1].has_feed_forward);
    CHECK(source.notes.size() >= 9);  // each tensor that was left out
  }
}

TEST_CASE("fields that were renamed are read under both names") {
  Folder folder = hf_folder();
  for (const auto& [old_name, new_name] : std::map<std::string, std::string>{
           {"dim_model", "hidden_size"}, {"num_heads", "num_attention_heads"}, {"num_layers", "num_hidden_layers"}}) {
    folder.config[new_name] = folder.config[old_name];
    folder.config.erase(old_name);
  }
  CHECK(open(folder).model.dim == kDim);
}
