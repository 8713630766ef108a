#include <zstd.h>

#include <bit>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "compress/chunk_codec.h"

namespace leafcutter::compress {
namespace {

struct FreeDecoder {
  void operator()(ZSTD_DCtx* decoder) const { ZSTD_freeDCtx(decoder); }
};

ZSTD_DCtx* decoder_of_this_thread() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecoder> decoder(ZSTD_createDCtx());
  return decoder.get();
}

// The window that a frame asks for. Source: RFC 8878, 3.1.1.1: after the magic number a descriptor; bit 5 set: the content is one segment and is its own window, there is no
// window byte; else the next byte holds exponent and mantissa. `frame` was found to be a whole frame with a content size.
std::uint64_t window_bytes(std::span<const std::byte> frame, std::uint64_t content_bytes) {
  const auto descriptor = std::to_integer<unsigned>(frame[4]);
  if (descriptor & 0x20) return content_bytes;
  const auto window = std::to_integer<unsigned>(frame[5]);
  const std::uint64_t base = std::uint64_t{1} << (10 + (window >> 3));
  return base + base / 8 * (window & 7);
}

}  // namespace

void decode_zstd(std::span<const std::byte> stored, std::span<std::byte> raw, const std::string& where) {
  const auto refuse = [&](const std::string& problem) { throw Error(ErrorKind::bad_file, where, "zstd: " + problem); };
  static_assert(std::endian::native == std::endian::little);
  std::uint32_t magic = 0;
  if (stored.size() >= sizeof magic) std::memcpy(&magic, stored.data(), sizeof magic);
  if (magic != ZSTD_MAGICNUMBER) refuse("no frame begins here");
  const unsigned long long content = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (content == ZSTD_CONTENTSIZE_ERROR) refuse("the header of the frame is damaged");
  if (content == ZSTD_CONTENTSIZE_UNKNOWN) refuse("the frame does not say its size");
  if (content != raw.size()) refuse("a frame of " + std::to_string(content) + " bytes, the index says " + std::to_string(raw.size()));
  if (ZSTD_getDictID_fromFrame(stored.data(), stored.size()) != 0) refuse("the frame needs a dictionary");
  const std::size_t frame = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
  if (ZSTD_isError(frame)) refuse("the frame is cut short or damaged");
  if (frame != stored.size()) refuse(std::to_string(stored.size() - frame) + " bytes follow the frame");
  if (const std::uint64_t window = window_bytes(stored, content); window > kMaxZstdWindow)
    refuse("a window of " + std::to_string(window) + " bytes, allowed " + std::to_string(kMaxZstdWindow));
  ZSTD_DCtx* decoder = decoder_of_this_thread();
  if (!decoder) throw Error(ErrorKind::out_of_budget, where, "no memory for a zstd decoder");
  const std::size_t got = ZSTD_decompressDCtx(decoder, raw.data(), raw.size(), stored.data(), stored.size());
  if (ZSTD_isError(got)) refuse(ZSTD_getErrorName(got));
  if (got != raw.size()) refuse("gave " + std::to_string(got) + " of " + std::to_string(raw.size()) + " bytes");
}

}  // namespace leafcutter::compress
