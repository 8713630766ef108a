// int8 dot products from registers alone, in chains that hide the latency: what no matrix product of this instruction set can pass.
#pragma once

namespace leafcutter::bench {

constexpr int kDotChains = 12;
constexpr double kDotOpsAvx2 = 64;     // multiplications and additions of one step of one chain: vpmaddubsw, vpmaddwd, vpaddd
constexpr double kDotOpsAvx512 = 128;  // vpdpbusd

// `steps` steps of all chains; gives something that depends on all of them.
int dot_ceiling_avx2(long steps);
int dot_ceiling_avx512(long steps);

}  // namespace leafcutter::bench
