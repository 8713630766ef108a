// Folders as Hugging Face's tools write them, and what people do to them.
#include "compress/hf_directory.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "tests/compress/gguf_bytes.h"
#include "tests/compress/torch_bytes.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using compress::test::TorchBytesTensor;
using nlohmann::json;

namespace {

struct Tensor {
  std::string dtype = "F32";
  std::vector<std::uint64_t> shape;
  std::string bytes;
};

using Tensors = std::map<std::string, Tensor>;

std::string safetensors(const Tensors& tensors) {
  json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  const std::string text = header.is_null() ? "{}" : header.dump();
  return compress::test::GgufBytes::raw<std::uint64_t>(text.size()) + text + data;
}

Tensor floats(std::vector<std::uint64_t> shape, float first) {
  std::size_t count = 1;
  for (const std::uint64_t n : shape) count *= n;
  Tensor tensor{"F32", std::move(shape), {}};
  for (std::size_t i = 0; i < count; i++) tensor.bytes += compress::test::GgufBytes::raw(first + static_cast<float>(i) / 1024);
  return tensor;
}

json small_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 16},
          {"num_hidden_layers", 1},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 24},
          {"vocab_size", 40},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", false}};
}

Tensors small_tensors() {
  const std::string l = "model.layers.0.";
  return {{"model.embed_tokens.weight", floats({40, 16}, 1)},
          {"model.norm.weight", floats({16}, 2)},
          {"lm_head.weight", floats({40, 16}, 3)},
          {l + "input_layernorm.weight", floats({16}, 4)},
          {l + "post_attention_layernorm.weight", floats({16}, 5)},
          {l + "self_attn.q_proj.weight", floats({16, 16}, 6)},
          {l + "self_attn.k_proj.weight", floats({8, 16}, 7)},
          {l + "self_attn.v_proj.weight", floats({8, 16}, 8)},
          {l + "self_attn.o_proj.weight", floats({16, 16}, 9)},
          {l + "mlp.gate_proj.weight", floats({24, 16}, 10)},
          {l + "mlp.up_proj.weight", floats({24, 16}, 11)},
          {l + "mlp.down_proj.weight", floats({16, 24}, 12)}};
}

struct Folder {
  leafcutter::test::TemporaryFolder folder;

  void write(const std::string& name, const std::string& content) const { std::ofstream(folder.file(name), std::ios::binary) << content; }
  void write(const std::string& name, const json& content) const { write(name, content.dump()); }
  void write_model() const {
    write("config.json", small_config());
    write("model.safetensors", safetensors(small_tensors()));
  }
  CheckpointSource open() const { return open_checkpoint(folder.path()); }
};

struct BadFolder {
  std::string name;
  std::function<void(const Folder&)> make;
  std::vector<std::string> parts;
};

void write_index(const Folder& f, const json& shard) {
  f.write("config.json", small_config());
  f.write("a.safetensors", safetensors(small_tensors()));
  f.write("model.safetensors.index.json", json{{"weight_map", {{"lm_head.weight", shard}}}});
}

void write_tensors(const Folder& f, const std::function<void(Tensors&)>& change) {
  Tensors tensors = small_tensors();
  change(tensors);
  f.write("config.json", small_config());
  f.write("model.safetensors", safetensors(tensors));
}

// small_tensors() as torch would save them, each with a storage of its own.
void write_torch(const Folder& f, const std::string& name, const std::function<void(TorchBytesTensor&)>& change = {},
                 const std::function<bool(const std::string&)>& keep = {}) {
  std::vector<TorchBytesTensor> tensors;
  std::map<std::string, std::string> storages;
  for (const auto& [tensor_name, tensor] : small_tensors()) {
    if (keep && !keep(tensor_name)) continue;
    TorchBytesTensor t{
        .name = tensor_name, .key = std::to_string(tensors.size()), .values = static_cast<std::int64_t>(tensor.bytes.size() / 4)};
    for (const std::uint64_t n : tensor.shape) t.shape.push_back(static_cast<std::int64_t>(n));
    t.strides = t.shape.size() == 1 ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{t.shape[1], 1};
    storages[t.key] = tensor.bytes;
    if (change) change(t);
    tensors.push_back(t);
  }
  f.write("config.json", small_config());
  f.write(name, compress::test::torch_archive(compress::test::state_dict_pickle(tensors), storages).file());
}

const BadFolder kBadDirectories[] = {
    {"an empty folder", [](const Folder&) {}, {"config.json"}},
    {"a config alone", [](const Folder& f) { f.write("config.json", small_config()); }, {"model.safetensors"}},
    {"a .bin that is none",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("pytorch_model.bin", std::string("x"));
     },
     {"pytorch_model.bin", "does not begin as a zip"}},
    {"a .bin shard of another folder",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("pytorch_model.bin.index.json", json{{"weight_map", {{"lm_head.weight", "../pytorch_model.bin"}}}});
     },
     {"index.json", "lm_head.weight", "no bin file"}},
    {"a .bin index that names safetensors",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("pytorch_model.bin.index.json", json{{"weight_map", {{"lm_head.weight", "a.safetensors"}}}});
     },
     {"index.json", "a.safetensors"}},
    {"an integer weight in a .bin",
     [](const Folder& f) {
       write_torch(f, "pytorch_model.bin", [](TorchBytesTensor& t) {
         if (t.name == "model.norm.weight") t.kind = "Int";
       });
     },
     {"model.norm.weight", "dtype Int", "Half"}},
    {"a .bin with a weight of one dimension too many",
     [](const Folder& f) {
       write_torch(f, "pytorch_model.bin", [](TorchBytesTensor& t) {
         if (t.name == "lm_head.weight") t.shape.push_back(1), t.strides.push_back(1);
       });
     },
     {"lm_head.weight", "3 dimensions"}},
    {"a .bin with an empty weight",
     [](const Folder& f) {
       write_torch(f, "pytorch_model.bin", [](TorchBytesTensor& t) {
         if (t.name == "lm_head.weight") t.shape = {0, 16};
       });
     },
     {"lm_head.weight", "no elements"}},
    {"a file without a config",
     [](const Folder& f) { write_torch(f, "model.pt"), std::filesystem::remove(f.folder.file("config.json")); },
     {"config.json"}},
    {"an empty safetensors",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("model.safetensors", std::string());
     },
     {"model.safetensors", "0 bytes"}},
    {"a shard of another folder", [](const Folder& f) { write_index(f, "../a.safetensors"); }, {"index.json", "lm_head.weight", "../a"}},
    {"a shard by an absolute path", [](const Folder& f) { write_index(f, "/etc/a.safetensors"); }, {"/etc/a"}},
    {"a shard that is a folder", [](const Folder& f) { write_index(f, ".."); }, {"no safetensors file"}},
    {"a shard that is a number", [](const Folder& f) { write_index(f, 7); }, {"lm_head.weight"}},
    {"a shard that is not there", [](const Folder& f) { write_index(f, "b.safetensors"); }, {"b.safetensors"}},
    {"an index without a map",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("model.safetensors.index.json", json{{"metadata", 1}});
     },
     {"weight_map"}},
    {"an index that is nested",
     [](const Folder& f) {
       f.write("config.json", small_config());
       f.write("model.safetensors.index.json", std::string(100'000, '['));
     },
     {"nested deeper"}},
    {"a norm missing", [](const Folder& f) { write_tensors(f, [](Tensors& t) { t.erase("model.norm.weight"); }); }, {"output_norm"}},
    {"q missing",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) { t.erase("model.layers.0.self_attn.q_proj.weight"); }); },
     {"layer 0"}},
    {"q of another shape",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) {
                             t["model.layers.0.self_attn.q_proj.weight"] = floats({16, 12}, 0);
                           }); },
     {"q_proj", "expected 16 x 16, found 16 x 12"}},
    {"q with three dimensions",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) {
                             t["model.layers.0.self_attn.q_proj.weight"] = floats({1, 16, 16}, 0);
                           }); },
     {"q_proj", "3 dimensions"}},
    {"a scalar norm",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) { t["model.norm.weight"] = floats({}, 0); }); },
     {"model.norm.weight", "0 dimensions"}},
    {"an integer weight",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) {
                             t["model.norm.weight"] = {"I32", {16}, std::string(64, '\1')};
                           }); },
     {"model.norm.weight", "I32"}},
    {"a layer too many",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) {
                             t["model.layers.1.mlp.up_proj.weight"] = floats({24, 16}, 0);
                           }); },
     {"layers.1", "belongs to no layer"}},
    {"an empty embedding",
     [](const Folder& f) { write_tensors(f, [](Tensors& t) {
                             t["model.embed_tokens.weight"] = floats({0, 16}, 0);
                           }); },
     {"embed_tokens"}},
    {"a broken tokenizer",
     [](const Folder& f) {
       f.write_model();
       f.write("tokenizer.json", std::string("{"));
     },
     {"tokenizer.json", "no JSON"}},
    {"a broken generation config",
     [](const Folder& f) {
       f.write_model();
       f.write("generation_config.json", std::string("{]"));
     },
     {"generation_config.json", "no JSON"}},
};

}  // namespace

TEST_CASE("a folder with one file and one with shards give the same tensors") {
  const Folder one, shards;
  one.write_model();
  shards.write("config.json", small_config());
  Tensors first, second;
  json map;
  for (const auto& [name, tensor] : small_tensors()) {
    const bool even = map.size() % 2 == 0;
    (even ? first : second)[name] = tensor;
    map[name] = even ? "model-1.safetensors" : "model-2.safetensors";
  }
  shards.write("model-1.safetensors", safetensors(first));
  shards.write("model-2.safetensors", safetensors(second));
  shards.write("model.safetensors.index.json", json{{"weight_map", map}});
  const CheckpointSource a = one.open(), b = shards.open();
  REQUIRE(a.tensors.size() == small_tensors().size());
  REQUIRE(b.tensors.size() == a.tensors.size());
  CHECK(b.files.size() == 2);
  for (const SourceTensor& tensor : a.tensors)
    for (const SourceTensor& other : b.tensors)
      if (tensor.name == other.name) {
        std::vector<std::byte> x(tensor.rows * tensor.k * 4), y(x.size());
        read_exactly(*a.files[tensor.file], tensor.offset, x, "tensor");
        read_exactly(*b.files[other.file], other.offset, y, "tensor");
        CHECK(x == y);
      }
}

TEST_CASE("weights: model.safetensors, else pytorch_model.bin, else its index, else the largest .pt or .bin with a note") {
  const auto file_of = [](const CheckpointSource& source) { return std::filesystem::path(source.files.at(0)->name()).filename().string(); };
  const Folder f;
  write_torch(f, "other.pt");
  f.write("training_args.bin", std::string(100'000, 'x'));
  const CheckpointSource only = f.open();
  CHECK(file_of(only) == "other.pt");
  CHECK(only.tensors.size() == small_tensors().size());
  CHECK(only.notes.size() == 1);  // no tokenizer
  f.write("smaller.bin", std::string("x"));
  const CheckpointSource largest = f.open();
  CHECK(file_of(largest) == "other.pt");
  CHECK(largest.notes.size() == 2);
  const auto is_embedding = [](const std::string& name) { return name == "model.embed_tokens.weight"; };
  write_torch(f, "pytorch_model-1.bin", {}, is_embedding);
  write_torch(f, "pytorch_model-2.bin", {}, [&](const std::string& name) { return !is_embedding(name); });
  json map;
  for (const auto& [name, tensor] : small_tensors()) map[name] = is_embedding(name) ? "pytorch_model-1.bin" : "pytorch_model-2.bin";
  f.write("pytorch_model.bin.index.json", json{{"weight_map", map}});
  const CheckpointSource shards = f.open();
  CHECK(shards.files.size() == 2);
  CHECK(shards.tensors.size() == small_tensors().size());
  write_torch(f, "pytorch_model.bin");
  CHECK(file_of(f.open()) == "pytorch_model.bin");
  f.write("model.safetensors", safetensors(small_tensors()));
  CHECK(file_of(f.open()) == "model.safetensors");
  CHECK(file_of(open_checkpoint(f.folder.file("other.pt"))) == "other.pt");
}

TEST_CASE("a checkpoint without config.json takes the .json of its own name") {
  const Folder f;
  write_torch(f, "tiny.pt");
  std::filesystem::rename(f.folder.file("config.json"), f.folder.file("tiny.json"));
  CHECK(f.open().tensors.size() == small_tensors().size());
  CHECK(open_checkpoint(f.folder.file("tiny.pt")).tensors.size() == small_tensors().size());
}

TEST_CASE("the rows of the embedding count where the config forgets that the vocabulary grew") {
  const Folder f;
  Tensors tensors = small_tensors();
  tensors["model.embed_tokens.weight"] = floats({43, 16}, 0);
  tensors["lm_head.weight"] = floats({43, 16}, 0);
  f.write("config.json", small_config());
  f.write("model.safetensors", safetensors(tensors));
  const CheckpointSource source = f.open();
  CHECK(source.model.vocab_size == 43);
  CHECK(source.notes.size() == 2);  // that, and that there is no tokenizer
}

TEST_CASE("a tied model's head is left out, buffers are left out, and both are said") {
  const Folder f;
  json config = small_config();
  config["tie_word_embeddings"] = true;
  Tensors tensors = small_tensors();
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = floats({2}, 0);
  f.write("config.json", config);
  f.write("model.safetensors", safetensors(tensors));
  const CheckpointSource source = f.open();
  CHECK(source.model.tied_head);
  CHECK(source.tensors.size() == small_tensors().size() - 1);
  CHECK(source.notes.size() == 3);
}

TEST_CASE("names that DataParallel put its prefix before are the same names") {
  const Folder f;
  write_torch(f, "pytorch_model.bin", [](TorchBytesTensor& t) { t.name = "module." + t.name; });
  const CheckpointSource source = f.open();
  CHECK(source.tensors.size() == small_tensors().size());
  CHECK(source.notes.size() == 1);  // no tokenizer
}

TEST_CASE("end and begin ids: the tokenizer's names first, then generation_config, then config") {
  const std::string tokenizer = R"({"added_tokens":[{"id":2,"content":"<s>","special":true},{"id":3,"content":"</s>","special":true}],
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})";
  Folder f;
  f.write_model();
  json config = small_config();
  config["eos_token_id"] = 7;
  config["bos_token_id"] = 6;
  f.write("config.json", config);
  CHECK(f.open().model.end_ids == std::vector<std::uint32_t>{7});
  CHECK(f.open().model.begin_id == 6);
  f.write("generation_config.json", json{{"eos_token_id", {8, 9}}});
  CHECK(f.open().model.end_ids == std::vector<std::uint32_t>{8, 9});
  f.write("tokenizer.json", tokenizer);
  f.write("tokenizer_config.json", json{{"eos_token", "</s>"}, {"bos_token", "<s>"}});
  CHECK(f.open().model.end_ids == std::vector<std::uint32_t>{3});
  CHECK(f.open().model.begin_id == 2);
  f.write("generation_config.json", json{{"eos_token_id", {3, 9, 4000000}}});
  CHECK(f.open().model.end_ids == std::vector<std::uint32_t>{3, 9});
}

TEST_CASE("a bad folder is refused with file and reason") {
  for (const BadFolder& bad : kBadDirectories) {
    CAPTURE(bad.name);
    const Folder f;
    bad.make(f);
    for (const std::string& part : bad.parts) leafcutter::test::expect_error([&] { f.open(); }, {part});
  }
}

TEST_CASE("every cut of model.safetensors is refused") {
  const Folder f;
  f.write_model();
  const std::string good = safetensors(small_tensors());
  for (std::size_t n = 0; n < good.size(); n += n < 2000 ? 13 : 1009) {
    f.write("model.safetensors", good.substr(0, n));
    CHECK_THROWS_AS(f.open(), Error);
  }
}
