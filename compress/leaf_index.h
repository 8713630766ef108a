// The index of a .leaf: which module holds which tensors, which chunk holds which bytes. docs/format.md has the byte tables.
//
// The embedding module holds the tables whose rows are looked up: the embedding and, for CPM-Ant, the prompt and segment embeddings. Its chunks carry no codec and each of its strips
// has a hash of its own, so that one row can be read and checked alone.
//
// A module's blob is the concatenation of its tensors' strips in the order of execution; chunks cut the blob at strip boundaries. A chunk may hold the end of one
// tensor and the beginning of the next. The `vectors` module (norms, biases: plain f32) is one blob of its own, cut anywhere at multiples of 64 bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/model_description.h"
#include "compress/tensor_role.h"
#include "quant/format.h"

namespace leafcutter::compress {

constexpr std::uint32_t kFormatVersion = 1;
constexpr std::uint64_t kPage = 4096;               // chunks begin at multiples of it
constexpr std::uint64_t kMaxChunkBytes = 4u << 20;  // raw and stored

// Bounds of version 1, each checked before anything is allocated. Together they keep an index below 48 MiB in memory.
struct LeafLimits {
  static constexpr std::uint32_t kModules = 2 * ModelLimits::kLayers + 3;
  static constexpr std::uint32_t kTensors = 17 * ModelLimits::kLayers;
  static constexpr std::uint32_t kChunks = 1u << 18;  // 1 TiB of full chunks
  static constexpr std::uint32_t kTiles =
      (ModelLimits::kVocabulary + ModelLimits::kPromptRows + ModelLimits::kSegmentTypes) / kernels::kStripRows + 2;
  static constexpr std::uint64_t kFileBytes = 1ull << 44;
};

enum class Codec : std::uint8_t { none = 0, zstd = 1 };

struct TensorEntry {
  TensorRole role{};
  std::uint32_t layer = 0;   // 0 where the role belongs to no layer
  std::uint32_t module = 0;  // index into modules
  quant::FormatId format{};
  kernels::Layout layout{};
  std::uint64_t rows = 0, k = 0;  // true shape; a vector has rows 1
  float divisor = 1;              // y is divided by it once, in the epilogue
  std::uint64_t offset = 0;       // of the first strip in the module's blob, multiple of 64
  std::uint64_t bytes = 0;        // strips * strip_bytes, or 4 * rows * k rounded up to 64 for plain
  std::uint64_t strips() const { return (rows + kernels::kStripRows - 1) / kernels::kStripRows; }
  std::uint64_t strip_bytes() const { return kernels::strip_bytes(layout, k); }
};

struct ModuleEntry {
  ModuleKind kind{};
  std::uint32_t layer = 0;
  std::uint64_t bytes = 0;  // of the blob
  std::uint32_t first_tensor = 0, tensor_count = 0;
  std::uint32_t first_chunk = 0, chunk_count = 0;
};

struct ChunkEntry {
  std::uint32_t module = 0;
  Codec codec = Codec::none;
  std::uint64_t module_offset = 0;  // of its first byte in the module's blob
  std::uint32_t raw_bytes = 0;      // multiple of 64, <= kMaxChunkBytes
  std::uint32_t stored_bytes = 0;   // before the padding to a page; == raw_bytes without a codec
  std::uint64_t file_offset = 0;    // multiple of kPage
  std::uint64_t hash = 0;           // XXH3-64 of the raw bytes
  std::uint64_t stored_hash = 0;    // XXH3-64 of the stored bytes, == hash without a codec: different zstd frames decode to the same bytes
};

struct LeafIndex {
  ModelDescription model;
  std::vector<ModuleEntry> modules;                  // in order of execution: embedding, layers, head (unless tied), vectors
  std::vector<TensorEntry> tensors;                  // in order of modules, then of offsets
  std::vector<ChunkEntry> chunks;                    // in order of modules, then of offsets; file offsets rise
  std::vector<std::uint64_t> embedding_tile_hashes;  // XXH3-64 per strip of the embedding module; those of the embedding tensor come first
  std::uint64_t tokenizer_offset = 0, tokenizer_bytes = 0, tokenizer_hash = 0;  // bytes 0: no tokenizer inside
  std::uint64_t file_bytes = 0;

  // The tensor with this role and layer, or null. Binary search.
  const TensorEntry* find(TensorRole role, std::uint32_t layer = 0) const;
};

}  // namespace leafcutter::compress
