#include "compress/gguf_header.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using quant::SourceType;

struct NeedMore {};  // the header goes on behind the bytes that are here

// ggml's type ids.
struct TypeId {
  std::uint32_t id;
  SourceType type;
};
constexpr TypeId kTypes[] = {{0, SourceType::f32},  {1, SourceType::f16},   {2, SourceType::q4_0}, {3, SourceType::q4_1},
                             {8, SourceType::q8_0}, {14, SourceType::q6_k}, {28, SourceType::f64}, {30, SourceType::bf16}};
constexpr const char* kTypeNames[] = {"F32",   "F16",    "Q4_0", "Q4_1", "",     "",        "Q5_0",   "Q5_1",    "Q8_0",  "Q8_1",   "Q2_K",
                                      "Q3_K",  "Q4_K",   "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S",
                                      "IQ2_S", "IQ4_XS", "I8",   "I16",  "I32",  "I64",     "F64",    "IQ1_M",   "BF16"};

std::size_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      break;
  }
  return 0;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::uint64_t file_bytes, const std::string& file)
      : bytes_(bytes), file_bytes_(file_bytes), file_(file) {}

  [[noreturn]] void refuse(const std::string& where, const std::string& problem) const {
    throw Error(ErrorKind::bad_file, where.empty() ? file_ : file_ + ", " + where, problem, "the file is damaged or no GGUF");
  }

  // The next n bytes; never past the file.
  std::span<const std::byte> take(std::uint64_t n, const std::string& what) {
    if (n > file_bytes_ - at_)
      refuse(what + ", offset " + std::to_string(at_),
             "needs " + std::to_string(n) + " bytes, the file has " + std::to_string(file_bytes_ - at_) + " left");
    if (n > bytes_.size() - at_) {
      if (at_ + n > GgufLimits::kHeaderBytes)
        refuse(what, "the header goes on past " + std::to_string(GgufLimits::kHeaderBytes) + " bytes");
      throw NeedMore{};
    }
    const auto part = bytes_.subspan(at_, n);
    at_ += n;
    return part;
  }

  template <class T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::string_view text(std::uint64_t limit, const std::string& what) {
    const auto length = number<std::uint64_t>(what);
    if (length > limit)
      refuse(what + ", offset " + std::to_string(at_ - 8),
             "a text of " + std::to_string(length) + " bytes; at most " + std::to_string(limit) + " are allowed");
    const auto part = take(length, what);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  void skip_value(GgufType type, const std::string& what) {
    if (type == GgufType::string)
      text(GgufLimits::kHeaderBytes, what);
    else
      take(scalar_bytes(type), what);
  }

  GgufType value_type(const std::string& what) {
    const auto id = number<std::uint32_t>(what);
    if (id > static_cast<std::uint32_t>(GgufType::f64)) refuse(what, "value type " + std::to_string(id) + " is not known");
    return static_cast<GgufType>(id);
  }

  GgufValue metadata() {
    GgufValue value;
    value.key = text(GgufLimits::kNameBytes, "a metadata key");
    const std::string what = "key " + printable_text(value.key, 64);
    if (value.key.empty()) refuse(what, "the key is empty");
    value.type = value.element = value_type(what);
    if (value.type == GgufType::array) {
      value.element = value_type(what);
      if (value.element == GgufType::array) refuse(what, "arrays of arrays are not allowed");
      value.count = number<std::uint64_t>(what);
      const std::uint64_t least = std::max<std::size_t>(scalar_bytes(value.element), value.element == GgufType::string ? 8 : 1);
      if (value.count > (file_bytes_ - at_) / least) refuse(what, std::to_string(value.count) + " elements do not fit the file");
      value.begin = at_;
      if (value.element == GgufType::string)
        for (std::uint64_t i = 0; i < value.count; i++) skip_value(value.element, what);
      else
        take(value.count * least, what);
    } else {
      value.begin = at_;
      skip_value(value.type, what);
    }
    return value;
  }

  SourceType tensor_type(const std::string& what) {
    const auto id = number<std::uint32_t>(what);
    for (const TypeId& known : kTypes)
      if (known.id == id) return known.type;
    const std::string name = id < std::size(kTypeNames) && *kTypeNames[id] ? kTypeNames[id] : std::to_string(id);
    throw Error(ErrorKind::unsupported, file_ + ", " + what, "type " + name + " is not served",
                "F32, F16, BF16, Q8_0, Q4_0, Q4_1 and Q6_K are");
  }

  GgufTensor tensor() {
    GgufTensor tensor;
    tensor.name = text(GgufLimits::kNameBytes, "a tensor's name");
    const std::string what = "tensor " + printable_text(tensor.name, 128);
    const auto dimensions = number<std::uint32_t>(what);
    if (dimensions == 0 || dimensions > GgufLimits::kDimensions)
      refuse(what, std::to_string(dimensions) + " dimensions; 1 to 4 are allowed");
    std::optional<std::uint64_t> values = 1;
    for (std::uint32_t d = 0; d < dimensions; d++) {
      tensor.shape.push_back(number<std::uint64_t>(what));
      if (tensor.shape.back() == 0) refuse(what, "a dimension of 0");
      values = values ? checked_multiply(*values, tensor.shape.back()) : values;
    }
    tensor.type = tensor_type(what);
    const quant::SourceTypeInfo& info = quant::source_type_info(tensor.type);
    if (tensor.shape[0] % info.block_values != 0)
      refuse(what, "its rows of " + std::to_string(tensor.shape[0]) + " are no multiple of " + std::to_string(info.block_values));
    const auto bytes = values ? checked_multiply(*values / info.block_values, info.block_bytes) : values;
    if (!bytes || *bytes > file_bytes_) refuse(what, "its shape is larger than the file");
    tensor.bytes = *bytes;
    tensor.offset = number<std::uint64_t>(what);
    return tensor;
  }

  std::uint64_t at() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t file_bytes_;
  const std::string& file_;
  std::uint64_t at_ = 0;
};

void refuse_overlap(const Parser& parser, const std::vector<GgufTensor>& tensors) {
  std::vector<const GgufTensor*> by_offset;
  for (const GgufTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); i++)
    if (by_offset[i]->offset < by_offset[i - 1]->offset + by_offset[i - 1]->bytes) {
      // Two that begin together: name them in the order of the file.
      const GgufTensor *first = std::min(by_offset[i - 1], by_offset[i]), *second = std::max(by_offset[i - 1], by_offset[i]);
      parser.refuse("tensor " + printable_text(second->name, 128), "overlaps tensor " + printable_text(first->name, 128));
    }
}

}  // namespace

std::optional<GgufHeader> GgufHeader::parse(std::span<const std::byte> bytes, std::uint64_t file_bytes, const std::string& file) {
  GgufHeader header;
  header.bytes_ = bytes;
  header.file_ = file;
  Parser parser(bytes, file_bytes, file);
  try {
    const auto magic = parser.take(4, "magic");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) parser.refuse("", "does not begin with GGUF");
    const auto version = parser.number<std::uint32_t>("version");
    if (version != 2 && version != 3)
      throw Error(ErrorKind::unsupported, file, "GGUF version " + std::to_string(version) + " is not served", "versions 2 and 3 are");
    const auto tensors = parser.number<std::uint64_t>("count of tensors"), metadata = parser.number<std::uint64_t>("count of metadata");
    if (tensors > GgufLimits::kTensors)
      parser.refuse("count of tensors", std::to_string(tensors) + "; at most " + std::to_string(GgufLimits::kTensors));
    if (metadata > GgufLimits::kMetadata)
      parser.refuse("count of metadata", std::to_string(metadata) + "; at most " + std::to_string(GgufLimits::kMetadata));
    for (std::uint64_t i = 0; i < metadata; i++) header.metadata_.push_back(parser.metadata());
    std::unordered_set<std::string> names;
    for (std::uint64_t i = 0; i < tensors; i++) {
      header.tensors_.push_back(parser.tensor());
      if (!names.insert(header.tensors_.back().name).second)
        parser.refuse("tensor " + printable_text(header.tensors_.back().name, 128), "comes twice");
    }
  } catch (const NeedMore&) { return std::nullopt; }
  std::sort(header.metadata_.begin(), header.metadata_.end(), [](const GgufValue& a, const GgufValue& b) { return a.key < b.key; });
  for (std::size_t i = 1; i < header.metadata_.size(); i++)
    if (header.metadata_[i].key == header.metadata_[i - 1].key)
      parser.refuse("key " + printable_text(header.metadata_[i].key, 64), "comes twice");
  const std::uint64_t alignment = header.number("general.alignment").value_or(32);
  if (alignment == 0 || alignment > GgufLimits::kAlignment || (alignment & (alignment - 1)) != 0)
    parser.refuse("key general.alignment", std::to_string(alignment) + " is no power of two up to 1 MiB");
  const std::uint64_t data = round_up(parser.at(), alignment);
  for (GgufTensor& tensor : header.tensors_) {
    const auto begin = checked_add(data, tensor.offset);
    const auto end = begin ? checked_add(*begin, tensor.bytes) : begin;
    if (tensor.offset % alignment != 0 || !end || *end > file_bytes)
      parser.refuse("tensor " + printable_text(tensor.name, 128), "bytes " + std::to_string(tensor.offset) + " and " +
                                                                      std::to_string(tensor.bytes) + " more do not lie in the file's " +
                                                                      std::to_string(file_bytes));
    tensor.offset = *begin;
  }
  refuse_overlap(parser, header.tensors_);
  return header;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto found =
      std::lower_bound(metadata_.begin(), metadata_.end(), key, [](const GgufValue& value, std::string_view k) { return value.key < k; });
  return found != metadata_.end() && found->key == key ? &*found : nullptr;
}

void GgufHeader::wrong_type(std::string_view key, const char* expected) const {
  throw Error(ErrorKind::bad_file, file_ + ", key " + printable_text(key, 64), std::string("expected ") + expected + ", found another type",
              "the file is damaged or no GGUF");
}

std::size_t GgufHeader::number_bytes(const GgufValue& value) const {
  if (value.element == GgufType::string || value.element == GgufType::f32 || value.element == GgufType::f64)
    wrong_type(value.key, "whole numbers");
  return scalar_bytes(value.element);
}

std::int64_t GgufHeader::integer_at(GgufType type, std::size_t at, std::string_view key) const {
  const auto load = [&]<class T>(T value) {
    std::memcpy(&value, bytes_.data() + at, sizeof value);
    return static_cast<std::int64_t>(value);
  };
  switch (type) {
    case GgufType::u8:
      return load(std::uint8_t{});
    case GgufType::i8:
      return load(std::int8_t{});
    case GgufType::u16:
      return load(std::uint16_t{});
    case GgufType::i16:
      return load(std::int16_t{});
    case GgufType::u32:
      return load(std::uint32_t{});
    case GgufType::i32:
      return load(std::int32_t{});
    case GgufType::u64:
    case GgufType::i64:
      return load(std::int64_t{});
    default:
      wrong_type(key, "a whole number");
  }
}

std::vector<std::uint64_t> GgufHeader::numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  std::vector<std::uint64_t> all;
  if (!value) return all;
  if (value->element == GgufType::string || value->count > GgufLimits::kTensors) wrong_type(key, "whole numbers");
  for (std::uint64_t i = 0; i < value->count; i++) {
    const std::int64_t number = integer_at(value->element, value->begin + i * scalar_bytes(value->element), key);
    if (number < 0) throw Error(ErrorKind::bad_file, file_ + ", key " + printable_text(key, 64), "is negative or past 2^63");
    all.push_back(static_cast<std::uint64_t>(number));
  }
  return all;
}

std::optional<std::uint64_t> GgufHeader::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (value->type == GgufType::array) wrong_type(key, "one whole number");
  return numbers(key).at(0);
}

std::vector<float> GgufHeader::reals(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return {};
  if (value->type != GgufType::array || value->element != GgufType::f32) wrong_type(key, "an array of F32");
  std::vector<float> all(value->count);
  if (!all.empty()) std::memcpy(all.data(), bytes_.data() + value->begin, all.size() * sizeof(float));
  return all;
}

std::optional<double> GgufHeader::real(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  double number = 0;
  if (value->type == GgufType::f32) {
    float single;
    std::memcpy(&single, bytes_.data() + value->begin, sizeof single);
    number = single;
  } else if (value->type == GgufType::f64) {
    std::memcpy(&number, bytes_.data() + value->begin, sizeof number);
  } else {
    wrong_type(key, "a real number");
  }
  if (!std::isfinite(number)) throw Error(ErrorKind::bad_file, file_ + ", key " + printable_text(key, 64), "is no finite number");
  return number;
}

std::optional<bool> GgufHeader::flag(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (value->type != GgufType::boolean) wrong_type(key, "true or false");
  return bytes_[value->begin] != std::byte{0};
}

std::optional<std::string> GgufHeader::text(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (value->type != GgufType::string) wrong_type(key, "a text");
  std::size_t at = value->begin;
  return std::string(text_at(at));
}

const GgufValue* GgufHeader::array_of(std::string_view key, GgufType element) const {
  const GgufValue* value = find(key);
  if (value && (value->type != GgufType::array || value->element != element)) wrong_type(key, "an array of texts");
  return value;
}

std::string_view GgufHeader::text_at(std::size_t& at) const {
  std::uint64_t length;
  std::memcpy(&length, bytes_.data() + at, sizeof length);
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + at + sizeof length), length);
  at += sizeof length + length;
  return text;
}

}  // namespace leafcutter::compress
