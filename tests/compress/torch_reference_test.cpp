// Files that torch itself wrote (tests/reference/make_torch.py), against what it says is in them.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "compress/compress_model.h"
#include "compress/torch_checkpoint.h"
#include "tests/support/expect_error.h"
#include "tests/support/memory_file.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using nlohmann::json;

namespace {

const std::filesystem::path kReference = std::filesystem::path(LEAFCUTTER_SOURCE_DIR) / "tests" / "reference";

struct Dtype {
  const char* name;     // torch's
  const char* storage;  // of the file
  std::size_t bytes;
};
constexpr Dtype kDtypes[] = {{"float32", "Float", 4}, {"float16", "Half", 2}, {"bfloat16", "BFloat16", 2}, {"float64", "Double", 8},
                             {"int64", "Long", 8},    {"int32", "Int", 4},    {"int16", "Short", 2},       {"int8", "Char", 1},
                             {"uint8", "Byte", 1},    {"bool", "Bool", 1}};

template <class T>
double number_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

double value_of(const std::string& storage, const std::byte* at) {
  if (storage == "Float") return number_at<float>(at);
  if (storage == "Double") return number_at<double>(at);
  if (storage == "Long") return number_at<std::int64_t>(at);
  if (storage == "Int") return number_at<std::int32_t>(at);
  if (storage == "Short") return number_at<std::int16_t>(at);
  if (storage == "Char") return number_at<std::int8_t>(at);
  if (storage == "Byte" || storage == "Bool") return number_at<std::uint8_t>(at);
  std::uint16_t half;
  std::memcpy(&half, at, sizeof half);
  return storage == "Half" ? float_from_half(half) : float_from_bf16(half);
}

// All elements, the last dimension the fastest.
std::vector<double> elements_of(File& file, const TorchTensor& t, std::size_t size) {
  std::vector<double> all;
  std::uint64_t count = 1;
  for (const std::uint64_t n : t.shape) count *= n;
  for (std::uint64_t i = 0; i < count; i++) {
    std::uint64_t at = 0, rest = i;
    for (std::size_t d = t.shape.size(); d-- > 0; rest /= t.shape[d]) at += rest % t.shape[d] * t.strides[d];
    std::byte bytes[8];
    read_exactly(file, t.offset + at * size, std::span(bytes, size), "element");
    all.push_back(value_of(t.dtype, bytes));
  }
  return all;
}

json expected_content() {
  std::ifstream in(kReference / "torch" / "expected.json");
  return json::parse(in);
}

// The .leaf of a checkpoint, with the description's line about its source made the same for all.
std::vector<std::byte> leaf_of(const std::filesystem::path& path, const CompressOptions& options) {
  CheckpointSource source = open_checkpoint(path.string());
  source.model.source = "the same";
  leafcutter::test::MemoryNewFile file;
  ThreadTeam team(2);
  compress_model(source, options, file, team, {});
  return file.bytes;
}

}  // namespace

TEST_CASE("checkpoints that torch wrote give every element of every tensor, and what is no plain state dict is refused") {
  const json expected = expected_content();
  REQUIRE(expected.size() >= 12);
  for (const auto& [name, content] : expected.items()) {
    CAPTURE(name);
    const auto file = open_file((kReference / "torch" / name).string());
    if (content.contains("refused")) {
      for (const auto& part : content["refused"])
        leafcutter::test::expect_error([&] { read_torch_checkpoint(*file); }, {name, part.get<std::string>()});
      continue;
    }
    const TorchCheckpoint checkpoint = read_torch_checkpoint(*file);
    CHECK(checkpoint.tensors.size() == content["tensors"].size());
    for (const TorchTensor& tensor : checkpoint.tensors) {
      CAPTURE(tensor.name);
      REQUIRE(content["tensors"].contains(tensor.name));
      const json& wanted = content["tensors"][tensor.name];
      const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return wanted["dtype"] == d.name; });
      REQUIRE(dtype != std::end(kDtypes));
      CHECK(std::string(tensor.dtype) == dtype->storage);
      CHECK(tensor.shape == wanted["shape"].get<std::vector<std::uint64_t>>());
      CHECK(elements_of(*file, tensor, dtype->bytes) == wanted["values"].get<std::vector<double>>());
    }
  }
}

TEST_CASE("a model from .bin files, single and sharded, with shared storages and views, is the same .leaf as from safetensors") {
  CompressOptions exact, quantized;
  exact.formats.keep = true;
  for (const char* name : {"tied-bf16", "odd-widths-f16"}) {
    CAPTURE(name);
    CHECK(leaf_of(kReference / "torch" / name, exact) == leaf_of(kReference / "llama" / name, exact));
    CHECK(leaf_of(kReference / "torch" / name, quantized) == leaf_of(kReference / "llama" / name, quantized));
  }
  const auto file = kReference / "torch" / "tied-bf16" / "pytorch_model.bin";
  CHECK(looks_like_checkpoint(file.string()));
  CHECK(leaf_of(file, exact) == leaf_of(kReference / "llama" / "tied-bf16", exact));
}
