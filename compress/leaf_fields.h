// The bytes of a .leaf's header and index records, said once for reading and writing: docs/format.md has the same as tables. Little endian.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "compress/leaf_index.h"

namespace leafcutter::compress {

static_assert(std::endian::native == std::endian::little, "fields are copied as they lie in memory");

// Not text (0x8C), and damaged by a transfer that takes it for text (CR LF, 0x1A).
constexpr std::uint8_t kLeafMagic[8] = {0x8C, 'L', 'E', 'A', 'F', '\r', '\n', 0x1A};
constexpr std::uint64_t kHeaderBytes = kPage;
constexpr std::uint64_t kHeaderHashOffset = kHeaderBytes - 8;  // XXH3-64 of all bytes before it
constexpr std::uint64_t kModuleRecordBytes = 32, kTensorRecordBytes = 48, kChunkRecordBytes = 48, kTileRecordBytes = 8;
constexpr std::uint64_t kDescriptionAlignment = 8, kTokenizerAlignment = 64;

struct LeafHeader {
  std::uint32_t version = kFormatVersion;
  std::uint32_t header_bytes = kHeaderBytes;
  std::uint64_t file_bytes = 0;
  std::uint64_t index_offset = 0, index_bytes = 0, index_hash = 0;
  std::uint64_t tokenizer_offset = 0, tokenizer_bytes = 0, tokenizer_hash = 0;
  std::uint32_t description_bytes = 0;  // of the JSON text, before its padding to 8
  std::uint32_t modules = 0, tensors = 0, chunks = 0, tiles = 0;
};

class FieldWriter {
 public:
  explicit FieldWriter(std::vector<std::byte>& out) : out_(out) {}

  template <class T>
  void number(const T& value) {
    out_.resize(out_.size() + sizeof value);
    std::memcpy(out_.data() + out_.size() - sizeof value, &value, sizeof value);
  }
  void zeros(std::size_t count) { out_.resize(out_.size() + count); }

 private:
  std::vector<std::byte>& out_;
};

// Reads from bytes whose number was checked before. Reserved bytes that are not zero are remembered, so that the caller can name the record.
class FieldReader {
 public:
  explicit FieldReader(std::span<const std::byte> in) : in_(in) {}

  template <class T>
  void number(T& value) {
    std::memcpy(&value, in_.data(), sizeof value);
    in_ = in_.subspan(sizeof value);
  }
  void zeros(std::size_t count) {
    for (std::size_t i = 0; i < count; i++) reserved_are_zero_ = reserved_are_zero_ && in_[i] == std::byte{0};
    in_ = in_.subspan(count);
  }
  bool reserved_are_zero() const { return reserved_are_zero_; }

 private:
  std::span<const std::byte> in_;
  bool reserved_are_zero_ = true;
};

// The header after its magic number, up to its hash.
template <class Fields>
void transfer(Fields& fields, LeafHeader& h) {
  fields.number(h.version);
  fields.number(h.header_bytes);
  fields.number(h.file_bytes);
  fields.number(h.index_offset);
  fields.number(h.index_bytes);
  fields.number(h.index_hash);
  fields.number(h.tokenizer_offset);
  fields.number(h.tokenizer_bytes);
  fields.number(h.tokenizer_hash);
  fields.number(h.description_bytes);
  fields.number(h.modules);
  fields.number(h.tensors);
  fields.number(h.chunks);
  fields.number(h.tiles);
  constexpr std::size_t kUsed = sizeof kLeafMagic + 2 * 4 + 7 * 8 + 5 * 4;
  fields.zeros(kHeaderHashOffset - kUsed);
}

template <class Fields>
void transfer(Fields& fields, ModuleEntry& m) {
  fields.number(m.kind);
  fields.zeros(3);
  fields.number(m.layer);
  fields.number(m.bytes);
  fields.number(m.first_tensor);
  fields.number(m.tensor_count);
  fields.number(m.first_chunk);
  fields.number(m.chunk_count);
}

template <class Fields>
void transfer(Fields& fields, TensorEntry& t) {
  fields.number(t.role);
  fields.number(t.format);
  fields.number(t.layout);
  fields.number(t.layer);
  fields.number(t.module);
  fields.number(t.divisor);
  fields.number(t.rows);
  fields.number(t.k);
  fields.number(t.offset);
  fields.number(t.bytes);
}

template <class Fields>
void transfer(Fields& fields, ChunkEntry& c) {
  fields.number(c.module);
  fields.number(c.codec);
  fields.zeros(3);
  fields.number(c.module_offset);
  fields.number(c.raw_bytes);
  fields.number(c.stored_bytes);
  fields.number(c.file_offset);
  fields.number(c.hash);
  fields.number(c.stored_hash);
}

template <class Fields>
void transfer(Fields& fields, std::uint64_t& tile_hash) {
  fields.number(tile_hash);
}

// Bytes of the index: description padded to 8, then the tables one after another.
constexpr std::uint64_t index_bytes_of(std::uint64_t description_bytes, std::uint64_t modules, std::uint64_t tensors, std::uint64_t chunks,
                                       std::uint64_t tiles) {
  return (description_bytes + kDescriptionAlignment - 1) / kDescriptionAlignment * kDescriptionAlignment + modules * kModuleRecordBytes +
         tensors * kTensorRecordBytes + chunks * kChunkRecordBytes + tiles * kTileRecordBytes;
}

}  // namespace leafcutter::compress
