// The compiled kernels for NVIDIA cards, as they lie in this program (cmake/LeafcutterCuda.cmake makes them).
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace leafcutter::gpu {

// PTX of ISA 6.0 for sm_61, all kernels in one module. A zero byte follows, as the driver wants it. Empty: built without.
std::string_view embedded_ptx();
// The same for sm_61 as machine code. Empty: built without.
std::span<const std::byte> embedded_cubin();
// One line: what was made, what was left out, and why.
std::string_view embedded_ptx_note();

}  // namespace leafcutter::gpu
