// Small PTX texts for tests of the interpreter.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/support/ptx/interpreter.h"
#include "tests/support/ptx/parser.h"

namespace leafcutter::ptx {

inline const std::string kHead = ".version 6.0\n.target sm_61\n.address_size 64\n";

// A kernel `k` of two addresses, in %rd1 and %rd2, with thread and block numbers in %r1 and %r2. The body begins at line 13.
inline std::string kernel_text(const std::string& body, const std::string& before = "") {
  return kHead + before + R"(.visible .entry k(.param .u64 k_0, .param .u64 k_1)
{
  .reg .pred %p<4>;
  .reg .b16 %rs<8>;
  .reg .b32 %r<16>; .reg .f32 %f<16>;
  .reg .b64 %rd<16>; .reg .f64 %fd<8>;
  ld.param.u64 %rd1, [k_0]; ld.param.u64 %rd2, [k_1];
  mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;
  mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
)" + body +
         "\n  ret;\n}\n";
}

template <class In, class Out>
Outcome run_small(const std::string& text, const std::vector<In>& in, std::vector<Out>& out, const Launch& launch = {}) {
  const Module module = parse(text);
  GlobalMemory memory;
  memory.add("in", in);
  memory.add_writable("out", out);
  const std::uint64_t arguments[] = {reinterpret_cast<std::uint64_t>(in.data()), reinterpret_cast<std::uint64_t>(out.data())};
  return run(module, module.kernel("k"), launch, std::as_bytes(std::span(arguments)), memory);
}

// Are all parts in an error's text?
inline bool says(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) {
      MESSAGE("'" << part << "' is not in: " << text);
      return false;
    }
  return true;
}

}  // namespace leafcutter::ptx
