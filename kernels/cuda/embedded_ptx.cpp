#include "kernels/cuda/embedded_ptx.h"

extern "C" {
extern const char leafcutter_embedded_ptx[], leafcutter_embedded_ptx_end[];
extern const std::byte leafcutter_embedded_cubin[], leafcutter_embedded_cubin_end[];
extern const char leafcutter_embedded_note[], leafcutter_embedded_note_end[];
}

namespace leafcutter::gpu {

std::string_view embedded_ptx() { return {leafcutter_embedded_ptx, leafcutter_embedded_ptx_end}; }
std::span<const std::byte> embedded_cubin() { return {leafcutter_embedded_cubin, leafcutter_embedded_cubin_end}; }
std::string_view embedded_ptx_note() { return {leafcutter_embedded_note, leafcutter_embedded_note_end}; }

}  // namespace leafcutter::gpu
