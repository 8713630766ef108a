// Stored bytes of a chunk <-> its blob, apart from hashes: one row per Codec. Decoding needs none of the encoder's code (chunk_decode.cpp, chunk_encode.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "compress/leaf_index.h"

namespace leafcutter::compress {

// The largest window that a frame may ask for: what every decoder of zstd must support.
constexpr std::uint64_t kMaxZstdWindow = 8u << 20;

// Decodes exactly one zstd frame into exactly raw.size() bytes. Refused before a byte is written: no content size, another content size than raw.size(), a window above kMaxZstdWindow,
// a dictionary, skippable or several frames, bytes after the frame. Throws Error(bad_file) with `where`. Thread-safe; keeps one decoder per thread (96 KiB).
void decode_zstd(std::span<const std::byte> stored, std::span<std::byte> raw, const std::string& where);

// Encodes into `out` and gives the bytes used; 0 when the result would not be smaller than raw. out.size() >= raw.size(). Deterministic. Thread-safe.
std::size_t encode_zstd(std::span<const std::byte> raw, std::span<std::byte> out, int level);

}  // namespace leafcutter::compress
