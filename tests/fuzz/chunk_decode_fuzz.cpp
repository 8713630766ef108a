// Properties: decoding writes exactly the bytes that the index promises or gives an error, never one outside; what is encoded comes back, the same each time.
#include <cstdlib>
#include <span>
#include <vector>

#include "base/error.h"
#include "compress/chunk_codec.h"

namespace {

using namespace leafcutter;
using namespace leafcutter::compress;

void require(bool holds) {
  if (!holds) std::abort();
}

// The size that the frame claims, or another one: exact buffers let the sanitizer see a byte too many.
void decode(std::span<const std::byte> stored, std::size_t raw_bytes) {
  std::vector<std::byte> raw(raw_bytes), again(raw_bytes);
  try {
    decode_zstd(stored, raw, "fuzz");
    decode_zstd(stored, again, "fuzz");
    require(raw == again);
  } catch (const Error&) {}
}

void round_trip(std::span<const std::byte> raw) {
  std::vector<std::byte> stored(raw.size()), again(raw.size()), back(raw.size());
  const std::size_t bytes = encode_zstd(raw, stored, 3);
  require(bytes == encode_zstd(raw, again, 3) && stored == again);
  if (bytes == 0) return;
  require(bytes < raw.size());
  decode_zstd(std::span(stored).first(bytes), back, "fuzz");
  require(std::equal(raw.begin(), raw.end(), back.begin()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::size_t raw_bytes =
      (std::size_t{data[0]} | std::size_t{data[1] & 3u} << 8) * 64;  // up to 64 KiB, so that a run takes microseconds
  const auto rest = std::as_bytes(std::span(data, size)).subspan(3);
  if (data[2] & 0x80) {
    if (!rest.empty()) round_trip(rest);
  } else {
    decode(rest, raw_bytes);
  }
  return 0;
}
