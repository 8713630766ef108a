#include "kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/error.h"

namespace leafcutter::kernels {
namespace {

// Not every compiler knows the name "f16c": CPUID leaf 1, ECX bit 29.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

bool has_avx512vnni() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

// CPUID leaf 7, EDX bits 24 (AMX-TILE) and 25 (AMX-INT8). Its registers are 8 KiB a thread, which Linux (5.16 and newer) gives a process that asks for them.
bool has_amx() {
  constexpr unsigned kTileAndInt8 = 3u << 24;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA of asm/prctl.h
  unsigned a, b, c, d;
  return has_avx512vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTileAndInt8) == kTileAndInt8 &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

std::span<const IsaInfo> isa_table() {
  static const std::array<IsaInfo, 4> table = {{{Isa::portable, "portable", true},
                                                {Isa::avx2, "avx2", has_avx2()},
                                                {Isa::avx512vnni, "avx512vnni", has_avx512vnni()},
                                                {Isa::amx, "amx", has_amx()}}};
  return table;
}

Isa choose_isa(const std::string& forced) {
  Isa best = Isa::portable;
  std::string here;
  for (const IsaInfo& info : isa_table()) {
    if (info.here) {
      best = info.isa;
      here += (here.empty() ? "" : ", ") + std::string(info.name);
    }
    if (!forced.empty() && forced == info.name) {
      if (info.here) return info.isa;
      throw Error(ErrorKind::usage, "instruction set '" + forced + "'", "this processor does not have it", "here: " + here);
    }
  }
  if (!forced.empty()) throw Error(ErrorKind::usage, "instruction set '" + forced.substr(0, 40) + "'", "no such name", "here: " + here);
  return best;
}

Isa default_isa() {
  static const Isa isa = [] {
    const char* forced = std::getenv("LEAFCUTTER_FORCE_ISA");
    return choose_isa(forced ? forced : "");
  }();
  return isa;
}

const char* isa_name(Isa isa) {
  for (const IsaInfo& info : isa_table())
    if (info.isa == isa) return info.name;
  return "unknown";
}

}  // namespace leafcutter::kernels
