#include "kernels/cuda/attend_shape.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/launch_family.h"

namespace leafcutter::gpu {
namespace {

using kernels::KvType;

// Entry points for a type and a head dimension (0: any), for one query and for several.
struct AttendKernels {
  KvType type;
  unsigned head_dim;
};
constexpr AttendKernels kKernels[] = {
    {KvType::f32, 0}, {KvType::f16, 64}, {KvType::f16, 96}, {KvType::f16, 128}, {KvType::f16, 256}, {KvType::f16, 0},
    {KvType::q8, 64}, {KvType::q8, 96},  {KvType::q8, 128}, {KvType::q8, 256},  {KvType::q8, 0},
};
constexpr const char* kFunctions[] = {
    "lc_attend_f32_any_one", "lc_attend_f32_any_several",  //
    "lc_attend_f16_64_one",  "lc_attend_f16_64_several",   //
    "lc_attend_f16_96_one",  "lc_attend_f16_96_several",   //
    "lc_attend_f16_128_one", "lc_attend_f16_128_several",  //
    "lc_attend_f16_256_one", "lc_attend_f16_256_several",  //
    "lc_attend_f16_any_one", "lc_attend_f16_any_several",  //
    "lc_attend_q8_64_one",   "lc_attend_q8_64_several",    //
    "lc_attend_q8_96_one",   "lc_attend_q8_96_several",    //
    "lc_attend_q8_128_one",  "lc_attend_q8_128_several",   //
    "lc_attend_q8_256_one",  "lc_attend_q8_256_several",   //
    "lc_attend_q8_any_one",  "lc_attend_q8_any_several",
};
static_assert(std::size(kFunctions) == 2 * std::size(kKernels));

// The kernel for the head dimension needs rows that begin where its loads may; where other layers' rows have left the planes elsewhere, it is the one for any.
std::size_t kernels_for(const kernels::AttendLaunch& a) {
  for (std::size_t i = 0; i < std::size(kKernels); i++) {
    if (kKernels[i].type != a.type) continue;
    if (kKernels[i].head_dim == 0) return i;
    const unsigned alignment = kv_row_alignment(a.type, kKernels[i].head_dim);
    if (kKernels[i].head_dim == a.head_dim && (a.keys.value | a.values.value | a.head_stride) % alignment == 0) return i;
  }
  throw Error(ErrorKind::device, "attend", "there is no CUDA kernel for keys of type " + std::to_string(static_cast<int>(a.type)),
              "use --kv-type f16");
}

LaunchShape shape(const kernels::AttendLaunch& a) {
  if (a.rows == 0) return {};
  const auto refuse = [](const std::string& problem) -> void { throw Error(ErrorKind::device, "attend", problem, "use --device cpu"); };
  if (a.head_dim == 0 || a.head_dim % 2 != 0 || a.head_dim > kAttendMostHeadDim)
    refuse("expected an even head dimension of at most " + std::to_string(kAttendMostHeadDim) + ", found " + std::to_string(a.head_dim));
  if (a.kv_heads == 0 || a.kv_heads > kMostGridYz || a.heads % a.kv_heads != 0)
    refuse("expected heads in groups of equal size for at most " + std::to_string(kMostGridYz) + " KV heads, found " +
           std::to_string(a.heads) + " for " + std::to_string(a.kv_heads));
  const unsigned query_bytes = attend_query_floats(static_cast<unsigned>(a.head_dim)) * sizeof(float);
  const bool room_for_several = kAttendWarps * kAttendStageBytes + kAttendQueries * query_bytes + kAttendOwnBytes <= kMostSharedBytes;
  const bool several = room_for_several && (a.heads > a.kv_heads || a.rows > kMostRowsAlone);
  const unsigned queries = several ? kAttendQueries : 1;
  const AttendTiles tiles = attend_tiles(a, queries);
  const char* function = kFunctions[2 * kernels_for(a) + several];
  const auto slices = static_cast<std::uint32_t>((a.head_dim + kAttendSlice - 1) / kAttendSlice);
  return {function,
          {grid_for(function, tiles.spans * tiles.tiles, 1), static_cast<std::uint32_t>(a.kv_heads), slices},
          kAttendThreads,
          kAttendWarps * kAttendStageBytes + queries * query_bytes};
}

}  // namespace

constinit const LaunchFamily kAttendFamily = launch_family<kernels::AttendLaunch, shape>(kFunctions);

}  // namespace leafcutter::gpu
