// Instruction sets: which this processor has, in order of preference. The choice is made once, at the edge.
#pragma once

#include <span>
#include <string>

namespace leafcutter::kernels {

enum class Isa { portable, avx2, avx512vnni, amx };

struct IsaInfo {
  Isa isa;
  const char*
      name;  // as LEAFCUTTER_FORCE_ISA takes it: "portable", "avx2" (with FMA and F16C), "avx512vnni" (F, BW, VL, DQ, VNNI), "amx" (these and AMX-INT8)
  bool here;  // can this processor (and system) run it?
};

// Best last.
std::span<const IsaInfo> isa_table();

// The best one here, or the one named by `forced` (empty: none). Throws Error(usage) for an unknown name or one that is not here.
Isa choose_isa(const std::string& forced = {});

// choose_isa of the environment variable LEAFCUTTER_FORCE_ISA, read once.
Isa default_isa();

const char* isa_name(Isa isa);

}  // namespace leafcutter::kernels
