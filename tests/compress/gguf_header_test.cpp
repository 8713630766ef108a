#include "compress/gguf_header.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/compress/gguf_bytes.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using compress::test::GgufBytes;
using compress::test::small_llama_gguf;

namespace {

std::optional<GgufHeader> parse(std::span<const std::byte> file) { return GgufHeader::parse(file, file.size(), "model.gguf"); }

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

struct BadFile {
  std::string name;
  std::function<std::string()> bytes;
  std::vector<std::string> parts;
};

std::string with_key(GgufType type, const std::string& value) { return GgufBytes().put("some.key", type, value).header(); }

std::string with_tensor(const GgufBytes::Tensor& tensor) {
  GgufBytes g;
  g.tensors.push_back(tensor);
  const auto file = g.file();
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

std::string with_tensors(std::vector<GgufBytes::Tensor> tensors, std::uint32_t alignment = 0) {
  GgufBytes g;
  if (alignment > 0) g.put("general.alignment", alignment);
  g.tensors = std::move(tensors);
  const auto file = g.file();
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

template <class T>
std::string raw(T value) {
  return GgufBytes::raw(value);
}

const std::vector<std::byte> kEight(32, std::byte{1});
const std::string kCounts0 = raw<std::uint64_t>(0);

const BadFile kBadHeaders[] = {
    {"nothing", [] { return std::string(); }, {"magic"}},
    {"another magic", [] { return "GGML" + raw(3u) + kCounts0 + kCounts0; }, {"does not begin with GGUF"}},
    {"magic alone", [] { return std::string("GGUF"); }, {"version"}},
    {"version 1", [] { return "GGUF" + raw(1u) + kCounts0 + kCounts0; }, {"version 1 is not served"}},
    {"big endian version", [] { return "GGUF" + raw(0x03000000u) + kCounts0 + kCounts0; }, {"not served"}},
    {"no counts", [] { return "GGUF" + raw(3u); }, {"count of tensors"}},
    {"2^63 tensors", [] { return "GGUF" + raw(3u) + raw(std::uint64_t{1} << 63) + kCounts0; }, {"count of tensors", "9223372036854775808"}},
    {"2^63 keys", [] { return "GGUF" + raw(3u) + kCounts0 + raw(std::uint64_t{1} << 63); }, {"count of metadata"}},
    {"a key promised and not there", [] { return "GGUF" + raw(3u) + kCounts0 + raw<std::uint64_t>(1); }, {"metadata key"}},
    {"a tensor promised and not there", [] { return "GGUF" + raw(3u) + raw<std::uint64_t>(1) + kCounts0; }, {"tensor's name"}},
    {"a key of 2^60 bytes",
     [] { return "GGUF" + raw(3u) + kCounts0 + raw<std::uint64_t>(1) + raw(std::uint64_t{1} << 60); },
     {"metadata key", "1152921504606846976"}},
    {"an empty key", [] { return GgufBytes().put("", 1u).header(); }, {"the key is empty"}},
    {"an unknown value type", [] { return with_key(static_cast<GgufType>(13), "12345678"); }, {"some.key", "value type 13"}},
    {"a text longer than the file", [] { return with_key(GgufType::string, raw<std::uint64_t>(1000)); }, {"some.key", "1000 bytes"}},
    {"a text of 2^64 - 1 bytes", [] { return with_key(GgufType::string, raw(~std::uint64_t{0})); }, {"some.key"}},
    {"a number cut", [] { return with_key(GgufType::u64, "1234"); }, {"some.key"}},
    {"an array of arrays",
     [] { return with_key(GgufType::array, raw(std::uint32_t(GgufType::array)) + raw<std::uint64_t>(1)); },
     {"some.key", "arrays of arrays"}},
    {"an array of unknown things", [] { return with_key(GgufType::array, raw(77u) + raw<std::uint64_t>(1)); }, {"some.key", "77"}},
    {"an array of 2^62 numbers",
     [] { return with_key(GgufType::array, raw(std::uint32_t(GgufType::u64)) + raw(std::uint64_t{1} << 62)); },
     {"some.key", "do not fit the file"}},
    {"an array of 2^62 texts",
     [] { return with_key(GgufType::array, raw(std::uint32_t(GgufType::string)) + raw(std::uint64_t{1} << 62)); },
     {"some.key", "do not fit the file"}},
    {"an array of texts that end early",
     [] { return with_key(GgufType::array, raw(std::uint32_t(GgufType::string)) + raw<std::uint64_t>(1) + raw<std::uint64_t>(50)); },
     {"some.key"}},
    {"a key twice", [] { return GgufBytes().put("a.key", 1u).put("b.key", 2u).put("a.key", 3u).header(); }, {"a.key", "comes twice"}},
    {"alignment 0", [] { return GgufBytes().put("general.alignment", 0u).header(); }, {"general.alignment", "0 is no power of two"}},
    {"alignment 24",
     [] {
       return with_tensors({{"a", {8}, 0, kEight}}, 24);
     },
     {"general.alignment", "24"}},
    {"alignment 2^30",
     [] {
       return with_tensors({{"a", {8}, 0, kEight}}, 1u << 30);
     },
     {"general.alignment"}},
    {"alignment as text", [] { return GgufBytes().put("general.alignment", "32").header(); }, {"general.alignment", "whole number"}},
    {"no dimensions",
     [] {
       return with_tensor({"a", {}, 0, kEight});
     },
     {"tensor a", "0 dimensions"}},
    {"five dimensions",
     [] {
       return with_tensor({"a", {1, 1, 1, 1, 8}, 0, kEight});
     },
     {"tensor a", "5 dimensions"}},
    {"a dimension of 0",
     [] {
       return with_tensor({"a", {8, 0}, 0, kEight});
     },
     {"tensor a", "dimension of 0"}},
    {"a shape that overflows",
     [] {
       return with_tensor({"a", {1ull << 40, 1ull << 40}, 0, kEight});
     },
     {"tensor a", "larger than the file"}},
    {"a shape whose bytes overflow",
     [] {
       return with_tensor({"a", {1ull << 62}, 0, kEight});
     },
     {"tensor a", "larger than the file"}},
    {"a shape past the file",
     [] {
       return with_tensor({"a", {800}, 0, kEight});
     },
     {"tensor a", "larger than the file"}},
    {"Q4_K",
     [] {
       return with_tensor({"a", {256}, 12, kEight});
     },
     {"tensor a", "Q4_K is not served"}},
    {"IQ2_XXS",
     [] {
       return with_tensor({"a", {256}, 16, kEight});
     },
     {"tensor a", "IQ2_XXS is not served"}},
    {"an unknown type",
     [] {
       return with_tensor({"a", {8}, 4711, kEight});
     },
     {"tensor a", "4711 is not served"}},
    {"rows of Q8_0 that are no blocks",
     [] {
       return with_tensor({"a", {24}, 8, kEight});
     },
     {"tensor a", "no multiple of 32"}},
    {"rows of Q6_K that are no blocks",
     [] {
       return with_tensor({"a", {128}, 14, kEight});
     },
     {"tensor a", "no multiple of 256"}},
    {"an offset past the file",
     [] {
       return with_tensor({"a", {8}, 0, kEight, 64});
     },
     {"tensor a", "do not lie in the file"}},
    {"an offset of 2^64 - 32",
     [] {
       return with_tensor({"a", {8}, 0, kEight, ~std::uint64_t{31}});
     },
     {"tensor a", "do not lie in the file"}},
    {"an offset that is not aligned",
     [] {
       return with_tensor({"a", {4}, 0, kEight, 8});
     },
     {"tensor a"}},
    {"a tensor twice",
     [] {
       return with_tensors({{"a", {8}, 0, kEight}, {"a", {8}, 0, kEight}});
     },
     {"tensor a", "comes twice"}},
    {"tensors over one another",
     [] {
       return with_tensors({{"a", {16}, 0, std::vector<std::byte>(64)}, {"b", {8}, 0, kEight, ~std::uint64_t{31}}});
     },
     {"tensor b", "overlaps tensor a"}},
    {"a name of 300 bytes",
     [] {
       return with_tensor({std::string(300, 'n'), {8}, 0, kEight});
     },
     {"tensor's name", "300"}},
};

}  // namespace

TEST_CASE("a good GGUF header gives metadata and tensors with offsets from the start of the file") {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBytes g = small_llama_gguf();
    g.version = version;
    g.put("a.flag", true).put("a.small", GgufType::i8, raw<std::int8_t>(7)).put("a.real", GgufType::f64, raw(2.5));
    g.put_texts("a.texts", {"one", "", "three"})
        .put_array("a.numbers", GgufType::u16, 3, raw<std::uint16_t>(1) + raw<std::uint16_t>(2) + raw<std::uint16_t>(65535));
    const auto file = g.file();
    const auto header = parse(file);
    REQUIRE(header.has_value());
    CHECK(header->number("llama.block_count") == 2);
    CHECK(header->number("a.small") == 7);
    CHECK(header->flag("a.flag") == true);
    CHECK(header->real("a.real") == 2.5);
    CHECK(header->text("general.architecture") == "llama");
    CHECK(header->numbers("a.numbers") == std::vector<std::uint64_t>{1, 2, 65535});
    std::vector<std::string> texts;
    CHECK(header->for_each_text("a.texts", [&](std::uint64_t, std::string_view t) { texts.emplace_back(t); }));
    CHECK(texts == std::vector<std::string>{"one", "", "three"});
    CHECK_FALSE(header->number("not.there").has_value());
    REQUIRE(header->tensors().size() == g.tensors.size());
    for (std::size_t t = 0; t < g.tensors.size(); t++) {
      CHECK(header->tensors()[t].name == g.tensors[t].name);
      CHECK(std::memcmp(file.data() + header->tensors()[t].offset, g.tensors[t].data.data(), g.tensors[t].data.size()) == 0);
    }
  }
}

TEST_CASE("a bad GGUF header is refused with file, place and reason") {
  for (const BadFile& bad : kBadHeaders) {
    CAPTURE(bad.name);
    const std::string bytes = bad.bytes();
    leafcutter::test::expect_error([&] { parse(bytes_of(bytes)); }, {"model.gguf"});
    for (const std::string& part : bad.parts) leafcutter::test::expect_error([&] { parse(bytes_of(bytes)); }, {part});
  }
}

TEST_CASE("a value of another type than asked for is refused with its key") {
  const auto file = GgufBytes().put("a", "text").put("b", 1.5f).put_texts("c", {"x"}).put("d", GgufType::i32, raw(-1)).file();
  const auto header = parse(file);
  REQUIRE(header.has_value());
  const auto refused = [&](auto&& work, const char* key) {
    leafcutter::test::expect_error(work, {"model.gguf", std::string("key ") + key});
  };
  refused([&] { header->number("a"); }, "a");
  refused([&] { header->number("b"); }, "b");
  refused([&] { header->numbers("c"); }, "c");
  refused([&] { header->number("d"); }, "d");
  refused([&] { header->flag("a"); }, "a");
  refused([&] { header->text("b"); }, "b");
  refused([&] { header->real("a"); }, "a");
  refused([&] { header->for_each_number("a", [](auto, auto) {}); }, "a");
  refused([&] { header->for_each_text("a", [](auto, auto) {}); }, "a");
}

TEST_CASE("every cut of a file is refused; a beginning of a longer file asks for more") {
  const auto file = small_llama_gguf().file();
  const std::size_t header_bytes = small_llama_gguf().header().size();
  for (std::size_t n = 0; n < header_bytes; n++) {
    CHECK_THROWS_AS(parse(std::span(file).first(n)), Error);
    CHECK_FALSE(GgufHeader::parse(std::span(file).first(n), file.size(), "model.gguf").has_value());
  }
  for (std::size_t n = header_bytes; n < file.size(); n += 97) CHECK_THROWS_AS(parse(std::span(file).first(n)), Error);
}
