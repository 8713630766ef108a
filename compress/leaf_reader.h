// Reading .leaf files: the index with every bound checked, chunk decoding and checking, single rows of the embedding. Needs none of the writer's code.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/file.h"
#include "compress/leaf_index.h"

namespace leafcutter::compress {

// Reads header and index and checks everything that can be checked without reading the weights. Throws Error(bad_file | unsupported) naming file, field and offset.
// At most 64 MiB and a second for any file.
LeafIndex read_leaf_index(File& file);

// The tokenizer section (see tokenizer_data.h), its hash checked. Empty when there is none.
std::vector<std::byte> read_tokenizer_section(File& file, const LeafIndex& index);

// Turns the stored bytes of a chunk into its blob: decodes into `raw` (exactly raw_bytes; for Codec::none stored and raw may be the same memory) and checks the hash.
// `stored` has at least stored_bytes; what follows them in it is the padding up to the page and must be zeros. With Codec::zstd a thread keeps a decoder of 96 KiB.
// Throws Error(bad_file) naming file, module, chunk and offset. Thread-safe.
void decode_chunk(const LeafIndex& index, std::size_t chunk, std::span<const std::byte> stored, std::span<std::byte> raw,
                  const std::string& file);

// Reads and checks one chunk, its padding too, with blocking reads (verify, tools); the pager has its own way. Thread-safe.
void read_chunk(File& file, const LeafIndex& index, std::size_t chunk, std::span<std::byte> raw);

// Reads the strip of the embedding (or of another table of its module) that holds `row`, checks its hash, decodes the row to k floats, undivided. Any File; reads are aligned to pages.
// Thread-safe; `scratch` is grown to embedding_scratch_bytes of the table where it is smaller. Throws Error(io | bad_file) naming table, row and offset.
void read_embedding_row(File& file, const LeafIndex& index, std::uint64_t row, std::vector<std::byte>& scratch, float* out,
                        TensorRole table = TensorRole::embedding);
std::size_t embedding_scratch_bytes(const TensorEntry& table);

// The same where the row's chunk is in memory, checked: which one that is, and the row out of its blob. row < table.rows.
std::size_t chunk_of_embedding_row(const LeafIndex& index, const TensorEntry& table, std::uint64_t row);
void decode_embedding_row(const LeafIndex& index, const TensorEntry& table, std::uint64_t row, std::span<const std::byte> blob, float* out);

// Compares every strip of the embedding module with its hash: what read_embedding_row relies on. Throws Error(bad_file) naming table, rows and offset.
void verify_embedding_tiles(File& file, const LeafIndex& index);

std::string chunk_place(const LeafIndex& index,
                        std::size_t chunk);  // "layer 3 attention (attention_q, attention_k), chunk 17, offset 4096"

}  // namespace leafcutter::compress
