// F6: frames that lie about their size, ask for too much, or are not alone.
#include "compress/chunk_codec.h"

#include <doctest/doctest.h>
#include <zstd.h>

#include <cstring>

#include "compress/xxh3.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using leafcutter::test::error_of;
using leafcutter::test::expect_error;

namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes out;
  for (int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes number(std::uint64_t value, int width) {
  Bytes out;
  for (int i = 0; i < width; i++) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  return out;
}

const Bytes kMagic = bytes_of({0x28, 0xb5, 0x2f, 0xfd});

// One segment, content size of 8 bytes, no checksum, no dictionary.
Bytes header(std::uint64_t content) { return kMagic + bytes_of({0xe0}) + number(content, 8); }

// A block of `size` equal bytes: 4 bytes in the file. Source: RFC 8878, 3.1.1.2.
Bytes run_block(std::uint32_t size, bool last) { return number((size << 3) | (1 << 1) | (last ? 1 : 0), 3) + bytes_of({'x'}); }

Bytes frame_of_runs(std::uint64_t claimed, std::uint64_t actual) {
  Bytes out = header(claimed);
  constexpr std::uint32_t kBlock = 128 << 10;
  while (actual > kBlock) out = std::move(out) + run_block(kBlock, false), actual -= kBlock;
  return std::move(out) + run_block(static_cast<std::uint32_t>(actual), true);
}

Bytes pattern(std::size_t size) {
  Bytes raw(size);
  std::uint64_t state = size;
  for (std::byte& b : raw) b = static_cast<std::byte>((state = state * 6364136223846793005 + 1442695040888963407) >> 62);
  return raw;
}

Bytes encode(const Bytes& raw, int level = 3) {
  Bytes out(raw.size());
  out.resize(encode_zstd(raw, out, level));
  return out;
}

Bytes streamed_without_size(const Bytes& raw) {
  ZSTD_CCtx* encoder = ZSTD_createCCtx();
  Bytes out(ZSTD_compressBound(raw.size()));
  ZSTD_inBuffer in{raw.data(), raw.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  ZSTD_compressStream2(encoder, &to, &in, ZSTD_e_continue);
  ZSTD_compressStream2(encoder, &to, &in, ZSTD_e_end);
  ZSTD_freeCCtx(encoder);
  out.resize(to.pos);
  return out;
}

void refuse(const Bytes& stored, std::size_t raw_bytes, const std::string& message) {
  // Guards on both sides show a byte written outside.
  Bytes memory(raw_bytes + 128, std::byte{0xa5});
  const std::span<std::byte> raw = std::span(memory).subspan(64, raw_bytes);
  expect_error([&] { decode_zstd(stored, raw, "a.leaf, chunk 7"); }, {"a.leaf, chunk 7: zstd: ", message});
  for (std::size_t i = 0; i < 64; i++) {
    CHECK(memory[i] == std::byte{0xa5});
    CHECK(memory[64 + raw_bytes + i] == std::byte{0xa5});
  }
}

}  // namespace

TEST_CASE("zstd gives back what it took, at all levels and sizes") {
  for (std::size_t size : {64u, 128u, 4096u, 100000u, 4u << 20})
    for (int level : {1, 3, 19}) {
      if (level == 19 && size > 100000) continue;
      const Bytes raw = pattern(size), stored = encode(raw, level);
      if (stored.empty()) continue;
      CHECK(stored.size() < raw.size());
      Bytes back(size);
      decode_zstd(stored, back, "chunk");
      CHECK(back == raw);
      CHECK(encode(raw, level) == stored);
    }
}

TEST_CASE("bytes that do not shrink are not coded") {
  Bytes noise(4096);
  std::uint64_t state = 1;
  for (std::byte& b : noise) b = static_cast<std::byte>((state = state * 6364136223846793005 + 1442695040888963407) >> 56);
  CHECK(encode(noise).empty());
}

TEST_CASE("the hand-made frames that the attacks are built of are good ones") {
  Bytes raw(300000);
  decode_zstd(frame_of_runs(300000, 300000), raw, "chunk");
  CHECK(raw[299999] == std::byte{'x'});
}

TEST_CASE("frames that lie, ask for too much or are not alone are refused, and nothing is written outside") {
  const Bytes raw = pattern(4096), good = encode(raw);
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  refuse({}, 4096, "no frame begins here");
  refuse(bytes_of({0x28, 0xb5, 0x2f}), 4096, "no frame begins here");
  refuse(pattern(4096), 4096, "no frame begins here");
  refuse(frame_of_runs(kGiB, kGiB), 4096, "a frame of 1073741824 bytes, the index says 4096");
  refuse(frame_of_runs(4096, kGiB), 4096, "");
  refuse(frame_of_runs(4096, 4097), 4096, "");
  refuse(frame_of_runs(4096, 4095), 4096, "");
  refuse(frame_of_runs(~std::uint64_t{0} - 2, 4096), 4096, "");
  refuse(frame_of_runs(0, 4096), 4096, "a frame of 0 bytes");
  refuse(good, 4095, "a frame of 4096 bytes, the index says 4095");
  refuse(good, 4097, "a frame of 4096 bytes, the index says 4097");
  refuse(good, 0, "a frame of 4096 bytes");
  refuse(streamed_without_size(raw), 4096, "does not say its size");
  refuse(good + bytes_of({0}), 4096, "1 bytes follow the frame");
  refuse(good + good, 4096, "follow the frame");
  refuse(bytes_of({0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}) + good, 4096, "no frame begins here");
  refuse(good + bytes_of({0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}), 4096, "8 bytes follow the frame");
  // Dictionary id of one byte; then the frame as above.
  refuse(kMagic + bytes_of({0xe1, 9}) + number(4096, 8) + run_block(4096, true), 4096, "needs a dictionary");
  // No single segment: a window byte of 2^(10+14) = 16 MiB, content size of 4 bytes.
  refuse(kMagic + bytes_of({0x80, 14 << 3}) + number(4096, 4) + run_block(4096, true), 4096, "a window of 16777216 bytes, allowed 8388608");
  refuse(kMagic + bytes_of({0x80, 31 << 3 | 7}) + number(4096, 4) + run_block(4096, true), 4096, "");
  // Just above 8 MiB: 2^23 + 2^20.
  refuse(kMagic + bytes_of({0x80, 13 << 3 | 1}) + number(4096, 4) + run_block(4096, true), 4096, "a window of 9437184 bytes");
  // A block type that is reserved, and a block larger than any may be.
  refuse(header(4096) + number((4096 << 3) | (3 << 1) | 1, 3) + bytes_of({'x'}), 4096, "");
  refuse(header(4u << 20) + number(((4u << 20) - 1) << 1 | 1, 3) + bytes_of({'x'}), 4u << 20, "");
}

TEST_CASE("a window of 8 MiB is allowed") {
  Bytes raw(4096);
  decode_zstd(kMagic + bytes_of({0x80, 13 << 3}) + number(4096, 4) + run_block(4096, true), raw, "chunk");
  CHECK(raw[4095] == std::byte{'x'});
}

TEST_CASE("a million empty frames are refused at the first") {
  const Bytes empty = header(0) + number(1, 3);
  Bytes bomb;
  bomb.reserve(empty.size() * 1000000);
  for (int i = 0; i < 1000000; i++) bomb.insert(bomb.end(), empty.begin(), empty.end());
  refuse(bomb, 4096, "a frame of 0 bytes");
  refuse(bomb, 0, "follow the frame");
}

TEST_CASE("every cut of a frame is refused") {
  const Bytes good = encode(pattern(4096));
  Bytes raw(4096);
  for (std::size_t n = 0; n < good.size(); n++) CHECK(error_of([&] { decode_zstd(std::span(good).first(n), raw, "chunk"); }).has_value());
}

TEST_CASE("XXH3 is the one of its authors, in one piece and in parts") {
  CHECK(xxh3({}) == 0x2d06800538d394c2);  // the value that the algorithm's description gives for no bytes
  const Bytes bytes = pattern(10000);
  for (std::size_t part : {1u, 63u, 4096u}) {
    Xxh3Stream stream;
    for (std::size_t at = 0; at < bytes.size(); at += part) stream.add(std::span(bytes).subspan(at, std::min(part, bytes.size() - at)));
    CHECK(stream.hash() == xxh3(bytes));
  }
}
