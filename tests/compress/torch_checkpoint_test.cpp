#include "compress/torch_checkpoint.h"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>

#include "tests/compress/torch_bytes.h"
#include "tests/support/expect_error.h"
#include "tests/support/memory_file.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using namespace leafcutter::compress::test;

namespace {

TorchCheckpoint read(const std::string& bytes) {
  const auto part = std::as_bytes(std::span(bytes));
  leafcutter::test::MemoryFile file({part.begin(), part.end()}, "model.pt");
  return read_torch_checkpoint(file);
}

TorchBytesTensor plain() { return {.name = "w", .key = "0", .values = 6, .shape = {2, 3}, .strides = {3, 1}}; }
std::string floats(std::size_t count) { return std::string(4 * count, '\1'); }

std::string archive_of(const std::string& pickle) { return torch_archive(pickle, {{"0", floats(6)}, {"1", floats(6)}}).file(); }
std::string archive_with(const std::function<void(TorchBytesTensor&)>& change) {
  TorchBytesTensor tensor = plain();
  change(tensor);
  return archive_of(state_dict_pickle({tensor}));
}

// A state dict whose one value is made by hand.
std::string archive_of_value(const std::function<void(PickleBytes&)>& put) {
  PickleBytes p;
  p.ordered_dict().op("(").text("w");
  put(p);
  return archive_of(p.op("u").stop());
}

PickleBytes& rebuild(PickleBytes& p) { return p.global("torch._utils", "_rebuild_tensor_v2").op("("); }

std::string archive_without(const std::string& name, const std::string& instead = {}) {
  ZipBytes zip = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}});
  std::erase_if(zip.entries, [&](const ZipBytes::Entry& e) { return e.name == name; });
  if (!instead.empty()) zip.add(instead, "x");
  return zip.file();
}

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

struct BadFile {
  std::string name;
  std::function<std::string()> bytes;
  std::vector<std::string> parts;
};

BadFile tensor(const char* name, const std::function<void(TorchBytesTensor&)>& change, std::vector<std::string> parts) {
  return {name, [=] { return archive_with(change); }, std::move(parts)};
}
BadFile value(const char* name, const std::function<void(PickleBytes&)>& put, std::vector<std::string> parts) {
  return {name, [=] { return archive_of_value(put); }, std::move(parts)};
}

using T = TorchBytesTensor;
using P = PickleBytes;

const BadFile kBadCheckpoints[] = {
    {"an empty file", [] { return std::string(); }, {"does not begin as a zip"}},
    {"two bytes", [] { return std::string("PK"); }, {"does not begin as a zip"}},
    {"safetensors by another name", [] { return std::string(100, '{'); }, {"does not begin as a zip"}},
    {"a file from before 1.6", [] { return "\x80\x02\x8a\x0a" + std::string(200, 'l'); }, {"before version 1.6", "torch.save"}},
    {"a pickle alone", [] { return state_dict_pickle({plain()}); }, {"does not begin as a zip"}},
    {"an empty zip", [] { return "PK\x03\x04" + ZipBytes().file(); }, {"zip64 end record"}},
    {"no pickle", [] { return archive_without("archive/data.pkl"); }, {"no entry archive/data.pkl"}},
    {"no storage", [] { return archive_without("archive/data/0"); }, {"tensor w", "no entry archive/data/0"}},
    {"an entry of another folder", [] { return archive_without("archive/version", "other/version"); }, {"other/version", "one folder"}},
    {"an entry of no folder", [] { return archive_without("archive/version", "version"); }, {"version", "one folder"}},
    {"TorchScript by its code", [] { return archive_without("archive/version", "archive/code/m.py"); }, {"TorchScript", "state_dict"}},
    {"TorchScript by its constants", [] { return archive_without("archive/version", "archive/constants.pkl"); }, {"TorchScript"}},
    {"big-endian",
     [] {
       ZipBytes zip = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}});
       zip["archive/byteorder"].data = "big";
       return zip.file();
     },
     {"archive/byteorder", "byte order big"}},
    {"a byte order of a megabyte",
     [] {
       ZipBytes zip = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}});
       zip["archive/byteorder"].data = std::string(1 << 20, 'l');
       return zip.file();
     },
     {"archive/byteorder", "at most 16"}},
    {"a pickle with a wrong checksum",
     [] {
       ZipBytes zip = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}});
       std::string file = zip.file();
       file[file.find("rebuild_tensor")] ^= 1;
       return file;
     },
     {"archive/data.pkl", "checksum"}},
    {"a pickle of 5 MB", [] { return archive_of(std::string(5'000'000, 'N')); }, {"archive/data.pkl", "at most 4194304"}},
    {"a call of os.system",
     [] { return archive_of(P().global("os", "system").op("(").text("touch /tmp/leafcutter-was-here").op("tR").stop()); },
     {"archive/data.pkl, offset 2", "global os.system", "nothing was executed"}},
    {"a call of os.system as a weight",
     [] { return archive_of_value([](P& p) { p.global("posix", "system").op("(").text("true").op("tR"); }); },
     {"archive/data.pkl", "global posix.system"}},
    {"a number", [] { return archive_of(P().number(7).stop()); }, {"something else than a state dict"}},
    {"a bare tensor",
     [] {
       P p;
       return archive_of(put_tensor(p, plain()).stop());
     },
     {"something else than a state dict"}},
    {"a list", [] { return archive_of(P().op("]").stop()); }, {"something else than a state dict"}},
    tensor("a negative offset", [](T& t) { t.offset = -1; }, {"tensor w", "storage offset is negative: -1"}),
    tensor("an offset past the storage", [](T& t) { t.offset = 1; }, {"tensor w", "element 6 of a storage of 6"}),
    tensor("a huge offset", [](T& t) { t.offset = kHuge; }, {"tensor w", "of a storage of 6"}),
    tensor("a negative dimension", [](T& t) { t.shape[0] = -2; }, {"tensor w", "shape is negative: -2"}),
    tensor("a dimension too large", [](T& t) { t.shape[0] = 3; }, {"tensor w", "element 8 of a storage of 6"}),
    tensor("a huge dimension", [](T& t) { t.shape[0] = kHuge; }, {"tensor w", "larger than any file"}),
    tensor("huge dimensions that overflow",
           [](T& t) {
             t.shape = {kHuge, kHuge};
           },
           {"tensor w", "larger than any file"}),
    tensor("an expanded dimension that overflows",
           [](T& t) {
             t.shape = {kHuge, 3}, t.strides = {0, 1};
           },
           {"larger than any file"}),
    tensor("a negative stride", [](T& t) { t.strides[0] = -3; }, {"tensor w", "strides is negative: -3"}),
    tensor("the smallest stride", [](T& t) { t.strides[1] = INT64_MIN; }, {"tensor w", "negative"}),
    tensor("a stride too large", [](T& t) { t.strides[0] = 4; }, {"tensor w", "element 6 of a storage of 6"}),
    tensor("a huge stride", [](T& t) { t.strides[0] = kHuge; }, {"tensor w", "of a storage of 6"}),
    tensor("strides that overflow",
           [](T& t) {
             t.shape = {5, 5}, t.strides = {kHuge, kHuge};
           },
           {"past 2^64"}),
    tensor("an empty tensor past its storage", [](T& t) { t.shape[0] = 0, t.offset = 7; }, {"element 7"}),
    tensor("fewer strides than dimensions", [](T& t) { t.strides = {1}; }, {"2 dimensions with 1 strides"}),
    tensor("more strides than dimensions",
           [](T& t) {
             t.strides = {3, 1, 1};
           },
           {"2 dimensions with 3 strides"}),
    tensor("nine dimensions", [](T& t) { t.shape = t.strides = std::vector<std::int64_t>(9, 1); }, {"9 dimensions; at most 8"}),
    tensor("a hundred thousand dimensions", [](T& t) { t.shape = std::vector<std::int64_t>(100'000, 1); }, {"100000 dimensions"}),
    tensor("a storage larger than its entry", [](T& t) { t.values = 7; }, {"archive/data/0", "has 24 bytes, expected 7 of 4"}),
    tensor("a storage smaller than its entry", [](T& t) { t.values = 5; }, {"archive/data/0", "expected 5 of 4"}),
    tensor("a huge storage", [](T& t) { t.values = kHuge; }, {"archive/data/0", "has 24 bytes"}),
    tensor("a negative storage", [](T& t) { t.values = -6; }, {"storage is negative"}),
    tensor("a storage of another width", [](T& t) { t.kind = "Half"; }, {"archive/data/0", "expected 6 of 2"}),
    tensor("a storage kind that is not served", [](T& t) { t.kind = "ComplexFloat"; }, {"global torch.ComplexFloatStorage"}),
    tensor("an untyped storage", [](T& t) { t.kind = "Untyped"; }, {"global torch.UntypedStorage"}),
    tensor("a quantized storage", [](T& t) { t.kind = "QInt8"; }, {"global torch.QInt8Storage"}),
    tensor("a key that climbs", [](T& t) { t.key = "../data.pkl"; }, {"no entry archive/data/../data.pkl"}),
    tensor("an empty key", [](T& t) { t.key = ""; }, {"no entry archive/data/"}),
    tensor("a key of a megabyte", [](T& t) { t.key = std::string(1 << 20, '0'); }, {"no entry"}),
    tensor("a name of 600 bytes", [](T& t) { t.name = std::string(600, 'n'); }, {"a name of 600 bytes"}),
    tensor("an empty name", [](T& t) { t.name = ""; }, {"a name of 0 bytes"}),
    {"a name twice",
     [] {
       return archive_of(state_dict_pickle({plain(), plain()}));
     },
     {"tensor w", "comes twice"}},
    {"one storage as two kinds",
     [] {
       TorchBytesTensor other = plain();
       other.name = "v", other.kind = "Int";
       return archive_of(state_dict_pickle({plain(), other}));
     },
     {"tensor v", "storage 0", "Int of 6", "Float of 6"}},
    {"one storage in two sizes",
     [] {
       TorchBytesTensor other = plain();
       other.name = "v", other.values = 3;
       return archive_of(state_dict_pickle({plain(), other}));
     },
     {"tensor v", "Float of 3"}},
    {"two storages over the same bytes",
     [] {
       TorchBytesTensor other = plain();
       other.name = "v", other.key = "1";
       ZipBytes zip = torch_archive(state_dict_pickle({plain(), other}), {{"0", floats(6)}, {"1", floats(6)}});
       std::string file = zip.file();
       patch(file, zip["archive/data/1"].central_at + 42, static_cast<std::uint32_t>(zip["archive/data/0"].local_at));
       return file;
     },
     {"archive/data/1", "name differs"}},
    value("a tensor without arguments", [](P& p) { rebuild(p).op("tR"); }, {"tensor w", "0 arguments"}),
    value("a tensor with eight arguments", [](P& p) { rebuild(p).op("NNNNNNNNtR"); }, {"8 arguments"}),
    value("a tensor without a storage", [](P& p) { rebuild(p).op("NNNNNNtR"); }, {"without a storage"}),
    value("a storage that is a number", [](P& p) { rebuild(p).number(3).op("QNNNNNtR"); }, {"0 fields, expected 5"}),
    value("a storage of two fields", [](P& p) { rebuild(p).op("NN\x86QNNNNNtR"); }, {"2 fields, expected 5"}),
    value("a persistent id that is no storage",
          [](P& p) { rebuild(p).op("(").text("module").global("torch", "FloatStorage").text("0").text("cpu").number(6).op("tQNNNNNtR"); },
          {"no storage"}),
    value("a storage of a kind that is a function",
          [](P& p) {
            rebuild(p).op("(").text("storage").global("torch._utils", "_rebuild_parameter").text("0").text("cpu").number(6).op("tQNNNNNtR");
          },
          {"no known kind"}),
    value("a storage whose kind is a text",
          [](P& p) { rebuild(p).op("(").text("storage").text("FloatStorage").text("0").text("cpu").number(6).op("tQNNNNNtR"); },
          {"no known kind"}),
    value("a storage whose key is a number",
          [](P& p) { rebuild(p).op("(").text("storage").global("torch", "FloatStorage").number(0).text("cpu").number(6).op("tQNNNNNtR"); },
          {"key or device is no text"}),
    value("a storage whose size is a text",
          [](P& p) { rebuild(p).op("(").text("storage").global("torch", "FloatStorage").text("0").text("cpu").text("6").op("tQNNNNNtR"); },
          {"no whole number"}),
    value("an offset that is a text", [](P& p) { rebuild(p).storage("Float", "0", 6).text("0").op("NNNNtR"); },
          {"storage offset is no whole"}),
    value("a shape that is a list", [](P& p) { rebuild(p).storage("Float", "0", 6).number(0).op("]NNNtR"); }, {"shape is no tuple"}),
    value("a shape of texts", [](P& p) { rebuild(p).storage("Float", "0", 6).number(0).text("2").op("\x85NNNtR"); },
          {"shape is no whole number"}),
    value("hooks", [](P& p) { rebuild(p).storage("Float", "0", 6).number(0).numbers({6}).numbers({1}).op("\x89}NNstR"); }, {"hooks"}),
    value("no hooks at all", [](P& p) { rebuild(p).storage("Float", "0", 6).number(0).numbers({6}).numbers({1}).op("\x89NtR"); },
          {"hooks"}),
    value("a negated view",
          [](P& p) { rebuild(p).storage("Float", "0", 6).number(0).numbers({6}).numbers({1}).op("\x89}}").text("neg").op("\x88stR"); },
          {"metadata of a tensor"}),
    value("a parameter of a number", [](P& p) { p.global("torch._utils", "_rebuild_parameter").op("(N\x88}tR"); },
          {"something else than a tensor"}),
    value("a parameter of two arguments", [](P& p) { p.global("torch._utils", "_rebuild_parameter").op("(N\x88tR"); }, {"2 arguments"}),
    value("a parameter of a parameter",
          [](P& p) {
            p.global("torch._utils", "_rebuild_parameter").op("(").global("torch._utils", "_rebuild_parameter").op("(N\x88}tR\x88}tR");
          },
          {"something else than a tensor"}),
    {"a tensor under a number",
     [] {
       P p;
       p.ordered_dict().number(7);
       return archive_of(put_tensor(p, plain()).op("s").stop());
     },
     {"no text"}},
};

}  // namespace

TEST_CASE("a state dict gives names, types, shapes, strides, places and shared storages") {
  TorchBytesTensor turned = plain(), part = plain(),
                   half = {.name = "h", .kind = "Half", .key = "1", .values = 4, .offset = 1, .shape = {3}, .strides = {1}};
  turned.name = "turned", turned.shape = {3, 2}, turned.strides = {1, 3};
  part.name = "part", part.offset = 1, part.shape = {2, 2};
  const TorchBytesTensor wide = {.name = "wide", .key = "0", .values = 6, .shape = {5, 3}, .strides = {0, 1}};
  const TorchBytesTensor count = {.name = "count", .kind = "Long", .key = "2", .values = 1, .shape = {}, .strides = {}};
  const TorchBytesTensor empty = {.name = "empty", .key = "3", .values = 0, .shape = {0, 4}, .strides = {4, 1}};
  const std::string file = torch_archive(state_dict_pickle({plain(), turned, part, half, wide, count, empty}),
                                         {{"0", "zero" + floats(5)}, {"1", "one23456"}, {"2", "integers"}, {"3", ""}})
                               .file();
  const TorchCheckpoint c = read(file);
  CHECK(c.notes.empty());
  REQUIRE(c.tensors.size() == 7);
  CHECK(c.tensors[0].name == "w");
  CHECK(c.tensors[0].type == quant::SourceType::f32);
  CHECK(c.tensors[0].shape == std::vector<std::uint64_t>{2, 3});
  CHECK(file.substr(c.tensors[0].offset, 4) == "zero");
  CHECK(c.tensors[1].storage == c.tensors[0].storage);
  CHECK(c.tensors[1].strides == std::vector<std::uint64_t>{1, 3});
  CHECK(c.tensors[2].offset == c.tensors[0].offset + 4);
  CHECK(c.tensors[3].type == quant::SourceType::f16);
  CHECK(c.tensors[3].storage != c.tensors[0].storage);
  CHECK(file.substr(c.tensors[3].offset, 6) == "e23456");
  CHECK(c.tensors[4].strides[0] == 0);
  CHECK_FALSE(c.tensors[5].type.has_value());
  CHECK(std::string(c.tensors[5].dtype) == "Long");
  CHECK(c.tensors[6].shape[0] == 0);
}

TEST_CASE("a state dict one level down is found and said, other entries are left out and said") {
  for (const char* wrapper : {"state_dict", "model", "module"}) {
    P p;
    p.op("}(").text("epoch").number(3).text(wrapper).ordered_dict().op("(").text("w");
    put_tensor(p, plain()).text("version").op("Nu").text("rates").op("](G" + std::string(8, '\0') + "eu");
    const TorchCheckpoint c = read(archive_of(p.stop()));
    REQUIRE(c.tensors.size() == 1);
    CHECK(c.tensors[0].name == "w");
    REQUIRE(c.notes.size() == 2);
    CHECK(c.notes[0].find(wrapper) != std::string::npos);
    CHECK(c.notes[1].find("version") != std::string::npos);
  }
}

TEST_CASE("a file that lies or asks for more than data is refused in time, with entry, tensor and reason") {
  for (const BadFile& bad : kBadCheckpoints) {
    CAPTURE(bad.name);
    const std::string bytes = bad.bytes();
    const auto begin = std::chrono::steady_clock::now();
    leafcutter::test::expect_error([&] { read(bytes); }, {"model.pt"});
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(1));
    for (const std::string& part : bad.parts) leafcutter::test::expect_error([&] { read(bytes); }, {part});
  }
}

TEST_CASE("every cut of a torch checkpoint is refused") {
  const std::string good = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}}).file();
  CHECK(read(good).tensors.size() == 1);
  for (std::size_t n = 0; n < good.size(); n++) CHECK_THROWS_AS(read(good.substr(0, n)), Error);
}

TEST_CASE("every bit that is turned around gives the same tensors' places or an error") {
  const std::string good = torch_archive(state_dict_pickle({plain()}), {{"0", floats(6)}}).file();
  for (std::size_t bit = 0; bit < 8 * good.size(); bit++) {
    std::string bytes = good;
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    try {
      for (const TorchTensor& t : read(bytes).tensors) {
        std::uint64_t last = 0, values = 1;
        for (std::size_t d = 0; d < t.shape.size(); d++) {
          values *= t.shape[d];
          if (t.shape[d] > 0) last += (t.shape[d] - 1) * t.strides[d];
        }
        if (values > 0) CHECK(t.offset + (last + 1) * 4 <= bytes.size());
      }
    } catch (const Error&) {}
  }
}
