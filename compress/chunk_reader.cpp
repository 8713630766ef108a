// Chunks and single strips of a .leaf whose index was checked.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "compress/chunk_codec.h"
#include "compress/leaf_check.h"
#include "compress/leaf_fields.h"
#include "compress/leaf_reader.h"
#include "compress/page_range.h"
#include "compress/strip_walk.h"
#include "compress/xxh3.h"
#include "kernels/matmul.h"

namespace leafcutter::compress {
namespace {

[[noreturn]] void refuse(const std::string& file, const std::string& place, const std::string& problem) {
  throw Error(ErrorKind::bad_file, file + ", " + place, problem, "make it again from its source");
}

// Where a strip of the embedding module lies.
struct StripPlace {
  std::size_t chunk;
  std::uint64_t offset;  // in its blob
};

StripPlace place_of(const LeafIndex& index, const TensorEntry& tensor, std::uint64_t strip) {
  const ModuleEntry& module = index.modules[tensor.module];
  const auto first = index.chunks.begin() + module.first_chunk, last = first + module.chunk_count;
  const std::uint64_t offset = tensor.offset + strip * tensor.strip_bytes();
  const auto chunk = std::upper_bound(first, last, offset, [](std::uint64_t o, const ChunkEntry& c) { return o < c.module_offset; }) - 1;
  return {static_cast<std::size_t>(chunk - index.chunks.begin()), offset - chunk->module_offset};
}

// In the file: chunks of the embedding module have no codec.
std::uint64_t file_offset_of(const LeafIndex& index, const TensorEntry& tensor, std::uint64_t strip) {
  const StripPlace place = place_of(index, tensor, strip);
  return index.chunks[place.chunk].file_offset + place.offset;
}

void check_tile(const LeafIndex& index, std::size_t tensor, std::uint64_t strip, std::span<const std::byte> bytes,
                const std::string& file) {
  if (xxh3(bytes) == index.embedding_tile_hashes[tile_number(index, tensor, strip)]) return;
  const TensorEntry& t = index.tensors[tensor];
  const std::uint64_t row = strip * kernels::kStripRows;
  refuse(file,
         std::string(role_name(t.role)) + ", rows " + std::to_string(row) + " to " +
             std::to_string(std::min(row + kernels::kStripRows, t.rows) - 1) + ", offset " +
             std::to_string(file_offset_of(index, t, strip)),
         "damaged: the hash of the rows differs from the index's");
}

}  // namespace

std::string chunk_place(const LeafIndex& index, std::size_t chunk) {
  const ChunkEntry& c = index.chunks[chunk];
  const ModuleEntry& m = index.modules[c.module];
  const bool of_layer = m.kind == ModuleKind::attention || m.kind == ModuleKind::feed_forward;
  std::string out = of_layer ? "layer " + std::to_string(m.layer) + " " : "";
  out += module_kind_name(m.kind);
  const std::vector<StripRange> ranges = strips_of_chunk(index, c);
  constexpr std::size_t kNamed = 4;  // the vectors' chunk may hold a thousand
  for (std::size_t i = 0; i < ranges.size() && i < kNamed; i++) {
    const TensorEntry& t = index.tensors[ranges[i].tensor];
    out += (i == 0 ? " (" : ", ") + (m.kind == ModuleKind::vectors ? tensor_place(t.role, t.layer) : std::string(role_name(t.role)));
  }
  out += ranges.size() > kNamed ? ", ...)" : ")";
  return out + ", chunk " + std::to_string(chunk) + ", offset " + std::to_string(c.file_offset);
}

void decode_chunk(const LeafIndex& index, std::size_t chunk, std::span<const std::byte> stored, std::span<std::byte> raw,
                  const std::string& file) {
  const ChunkEntry& c = index.chunks[chunk];
  const auto place = [&] { return chunk_place(index, chunk); };
  if (stored.size() < c.stored_bytes || raw.size() != c.raw_bytes)
    refuse(file, place(),
           std::to_string(stored.size()) + " bytes for " + std::to_string(c.stored_bytes) + " stored ones, room for " +
               std::to_string(raw.size()) + " of " + std::to_string(c.raw_bytes));
  if (!all_zero(stored.subspan(c.stored_bytes))) refuse(file, place(), "damaged: the padding behind it is not zero");
  stored = stored.first(c.stored_bytes);
  if (c.codec == Codec::zstd) {
    if (xxh3(stored) != c.stored_hash) refuse(file, place(), "damaged: the hash of its stored bytes differs from the index's");
    try {
      decode_zstd(stored, raw, "chunk");
    } catch (const Error& e) {  // only a chunk that fails pays for the words that name it
      refuse(file, place(), e.what());
    }
  } else if (stored.data() != raw.data()) {
    std::memmove(raw.data(), stored.data(), raw.size());
  }
  if (xxh3(raw) != c.hash) refuse(file, place(), "damaged: the hash of its bytes differs from the index's");
}

void read_chunk(File& file, const LeafIndex& index, std::size_t chunk, std::span<std::byte> raw) {
  const ChunkEntry& c = index.chunks[chunk];
  const std::uint64_t padded = round_up(c.stored_bytes, kPage);
  const PageRange stored(file, c.file_offset, padded, chunk_place(index, chunk));
  decode_chunk(index, chunk, stored.bytes(), raw, file.name());
}

std::size_t embedding_scratch_bytes(const TensorEntry& table) { return round_up(table.strip_bytes(), kPage) + 2 * kPage; }

void read_embedding_row(File& file, const LeafIndex& index, std::uint64_t row, std::vector<std::byte>& scratch, float* out,
                        TensorRole table) {
  const TensorEntry* found = index.find(table);
  if (!found) throw Error(ErrorKind::usage, file.name(), std::string("has no ") + role_name(table));
  const TensorEntry& t = *found;
  const auto tensor = static_cast<std::size_t>(found - index.tensors.data());
  if (row >= t.rows)
    throw Error(ErrorKind::usage, file.name() + ", " + role_name(table),
                "no row " + std::to_string(row) + " among " + std::to_string(t.rows));
  const std::uint64_t strip = row / kernels::kStripRows;
  const std::uint64_t begin = file_offset_of(index, t, strip), end = begin + t.strip_bytes();
  const std::uint64_t first_page = begin / kPage * kPage, bytes = round_up(end, kPage) - first_page;
  if (scratch.size() < bytes + kPage) scratch.resize(embedding_scratch_bytes(t));
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  const std::span<std::byte> pages = std::span(scratch).subspan(round_up(address, kPage) - address, bytes);
  try {
    read_exactly(file, first_page, pages, "rows");
  } catch (const Error& e) {  // only a row that fails pays for the words that name it
    throw Error(e.kind(), std::string(role_name(table)) + ", row " + std::to_string(row), e.what());
  }
  const std::span<const std::byte> bytes_of_strip = pages.subspan(begin - first_page, t.strip_bytes());
  check_tile(index, tensor, strip, bytes_of_strip, file.name());
  kernels::decode_strip_row(t.layout, bytes_of_strip.data(), t.k, row % kernels::kStripRows, out);
}

std::size_t chunk_of_embedding_row(const LeafIndex& index, const TensorEntry& table, std::uint64_t row) {
  return place_of(index, table, row / kernels::kStripRows).chunk;
}

void decode_embedding_row(const LeafIndex& index, const TensorEntry& table, std::uint64_t row, std::span<const std::byte> blob,
                          float* out) {
  const StripPlace place = place_of(index, table, row / kernels::kStripRows);
  kernels::decode_strip_row(table.layout, blob.data() + place.offset, table.k, row % kernels::kStripRows, out);
}

void verify_embedding_tiles(File& file, const LeafIndex& index) {
  const ModuleEntry& module = index.modules.front();
  for (std::size_t c = module.first_chunk; c < std::size_t{module.first_chunk} + module.chunk_count; c++) {
    const ChunkEntry& chunk = index.chunks[c];
    const PageRange blob(file, chunk.file_offset, chunk.raw_bytes, chunk_place(index, c));
    for (const StripRange& range : strips_of_chunk(index, chunk)) {
      const std::uint64_t strip_bytes = index.tensors[range.tensor].strip_bytes();
      for (std::uint64_t s = range.begin; s < range.end; s++)
        check_tile(index, range.tensor, s,
                   blob.bytes().subspan(range.offset - chunk.module_offset + (s - range.begin) * strip_bytes, strip_bytes), file.name());
    }
  }
}

}  // namespace leafcutter::compress
