// F3: hostile numbers behind right hashes, so that the check of the number itself is what answers.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <limits>

#include "compress/leaf_reader.h"
#include "tests/compress/leaf_bytes.h"
#include "tests/compress/leaf_samples.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;
using leafcutter::test::MemoryFile;

namespace {

std::vector<std::uint64_t> hostile_values(std::uint64_t original, std::size_t width) {
  const std::uint64_t max = width == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * width)) - 1;
  std::vector<std::uint64_t> out;
  for (std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, original + 1, original - 1, original + 64, original - 64, original + 4096,
                              original - 4096, original * 2, max, max - 1, max / 2, max / 2 + 1, std::uint64_t{1} << 31,
                              std::uint64_t{1} << 32, (std::uint64_t{1} << 63) - 1, std::uint64_t{1} << 63}) {
    value &= max;
    if (value != original && std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
  }
  return out;
}

// Tries all hostile values in one field; gives how many were tried.
std::size_t attack_field(const LeafBytes& good, const std::string& record, const Field& field, std::size_t offset, bool index) {
  std::size_t tried = 0;
  for (std::uint64_t value : hostile_values(good.get(offset, field.bytes), field.bytes)) {
    LeafBytes bad = good;
    bad.put(offset, field.bytes, value);
    if (index)
      bad.rehash_index();
    else
      bad.rehash_header();
    MemoryFile file(std::move(bad.bytes));
    const std::string name = record + " " + field.name + " = " + std::to_string(value);
    CAPTURE(name);
    const auto start = std::chrono::steady_clock::now();
    expect_error([&] { read_all(file); }, {"memory.leaf, "});
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
    tried++;
  }
  return tried;
}

struct Attack {
  const char* name;
  std::function<void(LeafBytes&)> damage;  // the index is hashed anew after it
  std::string message;
};

void replace(LeafBytes& leaf, const std::string& from, const std::string& to) {
  std::string text = leaf.description();
  const std::size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  text.replace(at, from.size(), to);
  leaf.set_description(text);
}

std::uint64_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

void swap_records(LeafBytes& leaf, std::size_t a, std::size_t b, std::size_t bytes) {
  std::swap_ranges(leaf.bytes.begin() + static_cast<std::ptrdiff_t>(a), leaf.bytes.begin() + static_cast<std::ptrdiff_t>(a + bytes),
                   leaf.bytes.begin() + static_cast<std::ptrdiff_t>(b));
}

void copy_record(LeafBytes& leaf, std::size_t from, std::size_t to, std::size_t bytes) {
  std::memcpy(leaf.bytes.data() + to, leaf.bytes.data() + from, bytes);
}

const Attack kAttacks[] = {
    {"reserved byte of the header", [](LeafBytes& b) { b.put(92, 1, 1); }, "header, reserved"},
    {"last reserved byte of the header", [](LeafBytes& b) { b.put(4087, 1, 0x80); }, "header, reserved"},
    {"reserved byte of a module", [](LeafBytes& b) { b.put(b.module(1) + 2, 1, 1); }, "module 1, reserved"},
    {"reserved byte of a chunk", [](LeafBytes& b) { b.put(b.chunk(2) + 7, 1, 255); }, "chunk 2, reserved"},
    {"padding of the description",
     [](LeafBytes& b) {
       replace(b, "made up", "made up!");
       if (b.description_bytes() % 8 == 0) replace(b, "made up!", "made up!!");
       b.put(b.module(0) - 1, 1, 1);
     },
     "padding of the description"},
    {"padding before the tokenizer", [](LeafBytes& b) { b.put(b.index_offset() + b.index_bytes(), 1, 1); }, "padding, offset"},
    {"padding at the end", [](LeafBytes& b) { b.put(b.bytes.size() - 1, 1, 1); }, "padding, offset"},
    {"a page behind the end that the header owns up to",
     [](LeafBytes& b) {
       b.bytes.resize(b.bytes.size() + 4096);
       b.put(16, 8, b.bytes.size());
     },
     "header, file_bytes"},
    {"a later version", [](LeafBytes& b) { b.put(8, 4, 2); }, "header, version, offset 8: is 2, this program reads 1"},
    {"divisor of zero", [](LeafBytes& b) { b.put(b.tensor(1) + kDivisorOffset, 4, 0); }, "divisor"},
    {"divisor of minus zero", [](LeafBytes& b) { b.put(b.tensor(1) + kDivisorOffset, 4, 0x80000000); }, "divisor"},
    {"divisor that is no number",
     [](LeafBytes& b) { b.put(b.tensor(1) + kDivisorOffset, 4, bits_of(std::numeric_limits<float>::quiet_NaN())); }, "divisor"},
    {"divisor without end", [](LeafBytes& b) { b.put(b.tensor(1) + kDivisorOffset, 4, bits_of(-std::numeric_limits<float>::infinity())); },
     "divisor"},
    {"two tensors exchanged", [](LeafBytes& b) { swap_records(b, b.tensor(1), b.tensor(2), kTensorBytes); },
     "tensor 1: expected layer 0 attention_q, layer 0 attention_k is there"},
    {"a tensor twice", [](LeafBytes& b) { copy_record(b, b.tensor(1), b.tensor(2), kTensorBytes); },
     "tensor 2: expected layer 0 attention_k, layer 0 attention_q is there"},
    {"two modules exchanged", [](LeafBytes& b) { swap_records(b, b.module(1), b.module(2), kModuleBytes); }, "module 1, kind"},
    {"a module twice", [](LeafBytes& b) { copy_record(b, b.module(1), b.module(2), kModuleBytes); }, "module 2, kind"},
    {"two chunks exchanged", [](LeafBytes& b) { swap_records(b, b.chunk(1), b.chunk(2), kChunkBytes); }, "chunk 1, "},
    {"a chunk twice", [](LeafBytes& b) { copy_record(b, b.chunk(1), b.chunk(2), kChunkBytes); }, "chunk 2, module_offset"},
    {"chunks that overlap in the file", [](LeafBytes& b) { b.put(b.chunk(1) + 24, 8, b.get(b.chunk(0) + 24, 8)); }, "chunk 1, file_offset"},
    {"a hole between chunks",
     [](LeafBytes& b) {
       for (std::size_t c = 1; c < b.chunks(); c++) b.put(b.chunk(c) + 24, 8, b.get(b.chunk(c) + 24, 8) + 4096);
     },
     "chunk 1, file_offset"},
    {"a cut within a strip",
     [](LeafBytes& b) {
       b.put(b.chunk(0) + 16, 4, b.get(b.chunk(0) + 16, 4) - 64);
       b.put(b.chunk(0) + 20, 4, b.get(b.chunk(0) + 20, 4) - 64);
     },
     "cuts a strip"},
    {"a coded chunk of the embedding",
     [](LeafBytes& b) {
       b.put(b.chunk(0) + 4, 1, 1);
       b.put(b.chunk(0) + 20, 4, 100);
     },
     "rows of the embedding are read alone"},
    {"an unknown codec", [](LeafBytes& b) { b.put(b.chunk(4) + 4, 1, 7); }, "codec: 7 is not known"},
    {"an unknown format", [](LeafBytes& b) { b.put(b.tensor(1) + 2, 1, 200); }, "format: 200 is not known"},
    {"an unknown role", [](LeafBytes& b) { b.put(b.tensor(1), 2, 999); }, "role 999"},
    {"the layout of another format", [](LeafBytes& b) { b.put(b.tensor(1) + 3, 1, 6); }, "layout: is 6, expected 4"},
    {"a vector in a quantized format", [](LeafBytes& b) { b.put(b.tensor(b.tensors() - 1) + 2, 1, 3); }, "format: is q8, expected f32"},
    {"a chunk of 4 MiB and a line",
     [](LeafBytes& b) {
       b.put(b.chunk(0) + 16, 4, (4 << 20) + 64);
       b.put(b.chunk(0) + 20, 4, (4 << 20) + 64);
     },
     "chunk 0, raw_bytes"},
    {"a wrong tile hash", [](LeafBytes& b) { b.put(b.tile(1), 8, 1); }, "embedding, rows 16 to 31"},
    {"a stored hash of its own without a codec", [](LeafBytes& b) { b.put(b.chunk(3) + kChunkHashOffset + 8, 8, 1); },
     "chunk 3, stored_hash"},
    {"a wrong chunk hash", [](LeafBytes& b) { b.put(b.chunk(3) + kChunkHashOffset, 8, 1), b.put(b.chunk(3) + kChunkHashOffset + 8, 8, 1); },
     "chunk 3, offset"},
    {"description of a wider model", [](LeafBytes& b) { replace(b, "\"dim\":32", "\"dim\":48"); },
     "tensor 0 (embedding), k: is 32, expected 48"},
    {"description with another vocabulary", [](LeafBytes& b) { replace(b, "\"vocab_size\":40", "\"vocab_size\":41"); },
     "tensor 0 (embedding), rows: is 40, expected 41"},
    {"description that ties the head", [](LeafBytes& b) { replace(b, "\"tied_head\":false", "\"tied_head\":true"); },
     "modules, count: is 7, expected 6"},
    {"description with a layer more", [](LeafBytes& b) { replace(b, "{\"ff_width\":20}", "{\"ff_width\":20},{\"ff_width\":20}"); },
     "modules, count"},
    {"description with an empty layer more",
     [](LeafBytes& b) {
       replace(b, "{\"ff_width\":20}", "{\"ff_width\":20},{}");
       b.put(b.module(1) + 4, 4, 3);
     },
     "module 1, layer"},
    {"description with other heads", [](LeafBytes& b) { replace(b, "\"heads\":4", "\"heads\":8"); },
     "attention_q), rows: is 32, expected 64"},
    {"description of zeros", [](LeafBytes& b) { b.set_description(std::string(40, '\0')); }, "model description"},
    {"description nested without end", [](LeafBytes& b) { b.set_description(std::string(100000, '[')); }, "model description"},
    {"description with a deep unknown value", [](LeafBytes& b) { replace(b, "\"name\":\"small\"", "\"x\":" + std::string(50000, '[')); },
     "field \"x\" is not known"},
    {"description of 8 MiB of white space", [](LeafBytes& b) { b.set_description(std::string(8 << 20, ' ')); }, "model description"},
    {"tokenizer that is no section",
     [](LeafBytes& b) {
       const std::size_t at = b.get(48, 8);
       b.put(at, 1, 9);
       b.put(64, 8, XXH3_64bits(b.bytes.data() + at, b.get(56, 8)));
     },
     "tokenizer, version"},
};

}  // namespace

TEST_CASE("hostile values in every field of header and index are refused") {
  const LeafBytes good(sample_bytes());
  std::size_t tried = 0;
  for (const Field& field : kHeaderFields) tried += attack_field(good, "header", field, field.offset, false);
  for (std::size_t i : {std::size_t{0}, std::size_t{1}, good.modules() - 1})
    for (const Field& field : kModuleFields)
      tried += attack_field(good, "module " + std::to_string(i), field, good.module(i) + field.offset, true);
  for (std::size_t i : {std::size_t{0}, std::size_t{3}, good.tensors() - 1})
    for (const Field& field : kTensorFields)
      tried += attack_field(good, "tensor " + std::to_string(i), field, good.tensor(i) + field.offset, true);
  for (std::size_t i : {std::size_t{0}, std::size_t{3}, good.chunks() - 1})
    for (const Field& field : kChunkFields)
      tried += attack_field(good, "chunk " + std::to_string(i), field, good.chunk(i) + field.offset, true);
  MESSAGE("hostile fields tried: " << tried);
  CHECK(tried >= 500);
}

TEST_CASE("the files that the attacks begin with are good") {
  MemoryFile file(sample_bytes());
  CHECK_NOTHROW(read_all(file));
  LeafBytes same(file.bytes);
  same.set_description(same.description());
  MemoryFile without_tokenizer(same.bytes);
  CHECK_NOTHROW(read_all(without_tokenizer));
}

TEST_CASE("each attack is refused with the place that it struck") {
  for (const Attack& attack : kAttacks) {
    CAPTURE(attack.name);
    LeafBytes bad(sample_bytes());
    attack.damage(bad);
    bad.rehash_index();
    MemoryFile file(std::move(bad.bytes));
    expect_error([&] { read_all(file); }, {"memory.leaf, ", attack.message});
  }
}

TEST_CASE("files of other kinds are refused by content") {
  for (const std::string& text : {std::string("GGUF") + std::string(8000, 'x'), std::string(8192, '\0'), std::string(5000, '{'),
                                  std::string("#!/bin/sh\n"), std::string()}) {
    const auto bytes = std::as_bytes(std::span(text));
    MemoryFile file({bytes.begin(), bytes.end()});
    expect_error([&] { read_leaf_index(file); }, {"memory.leaf, header"});
  }
}
