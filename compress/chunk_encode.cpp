#include <zstd.h>

#include <memory>

#include "base/error.h"
#include "compress/chunk_codec.h"

namespace leafcutter::compress {
namespace {

struct FreeEncoder {
  void operator()(ZSTD_CCtx* encoder) const { ZSTD_freeCCtx(encoder); }
};

}  // namespace

std::size_t encode_zstd(std::span<const std::byte> raw, std::span<std::byte> out, int level) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeEncoder> encoder(ZSTD_createCCtx());
  if (!encoder) throw Error(ErrorKind::out_of_budget, "compress", "no memory for a zstd encoder");
  // One byte less than raw: what does not fit would not have shrunk.
  const std::size_t got = ZSTD_compressCCtx(encoder.get(), out.data(), raw.size() - 1, raw.data(), raw.size(), level);
  return ZSTD_isError(got) ? 0 : got;
}

}  // namespace leafcutter::compress
