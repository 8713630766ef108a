// Blocks of the kernel of fetch_rows.cu.
#pragma once

namespace leafcutter::gpu {

constexpr unsigned kFetchThreads = 256;  // of a block: as many words of a row

}  // namespace leafcutter::gpu
