// What the parser takes, and hostile texts: each is an error that names line and instruction.
#include "tests/support/ptx/parser.h"

#include <doctest/doctest.h>

#include <random>

#include "tests/ptx/small_kernel.h"

using namespace leafcutter::ptx;

namespace {

std::string refusal_of_text(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& e) { return e.what(); }
  return "no error";
}

std::string refusal(const std::string& body) { return refusal_of_text(kernel_text(body)); }

}  // namespace

TEST_CASE("a module is read with its target, parameters, shared memory and comments") {
  const Module module = parse(kHead + R"(/* two
lines */ // and one
.extern .shared .align 16 .b8 dynamic[];
.visible .entry first(.param .align 8 .b8 first_0[20], .param .u8 first_1, .param .u64 first_2)
.maxntid 128, 1, 1
{ .reg .b32 %r<2>; .shared .align 16 .b8 s[24]; .shared .align 4 .b8 t[4]; .pragma "nounroll"; mov.u32 %r1, 1; ret; }
.visible .entry second() { ret; }
)");
  CHECK(module.version == "6.0");
  CHECK(module.target == "sm_61");
  CHECK(module.kernels.size() == 2);
  const Kernel& kernel = module.kernel("first");
  CHECK(kernel.parameter_bytes == 32);
  CHECK(kernel.shared_bytes == 32);
  CHECK(kernel.most_threads == 128);
  CHECK(kernel.code.size() == 3);
  CHECK(module.kernel("second").parameter_bytes == 0);
}

TEST_CASE("what is not known is named with its line") {
  CHECK(says(refusal("frobnicate.s32 %r3, %r1;"), {"PTX line 13: frobnicate.s32", "opcode is not known"}));
  CHECK(says(refusal("\n\nadd.rz.f32 %f1, %f2, %f3;"), {"PTX line 15: add.rz.f32", "'rz'"}));
  CHECK(says(refusal("add.s33 %r3, %r1, %r2;"), {"add.s33", "'s33' is no type"}));
  CHECK(says(refusal("add %r3, %r1, %r2;"), {"type is missing"}));
  CHECK(says(refusal("ld.texture.u32 %r3, [%rd1];"), {"ld.texture.u32", "texture"}));
  CHECK(says(refusal("shfl.sync.sideways.b32 %r3, %r1, 1, 31, -1;"), {"sideways"}));
  CHECK(says(refusal("atom.global.inc.u32 %r3, [%rd1], 1;"), {"'inc' is not known"}));
  CHECK(says(refusal("setp.maybe.s32 %p1, %r1, %r2;"), {"'maybe'"}));
  CHECK(says(refusal("cvt.s32.f32 %r3, %f1;"), {"rni, rzi, rmi or rpi"}));
  CHECK(says(refusal("cvt.f32.s32 %f1, %r3;"), {"rounding is missing"}));
  CHECK(says(refusal("ex2.f32 %f1, %f2;"), {"ex2.f32", "approx"}));
  CHECK(says(refusal("bar.sync 1;"), {"only barrier 0"}));
  CHECK(says(refusal(".maxthings 3;"), {".maxthings", "directive is not known"}));
  CHECK(says(refusal_of_text(kHead + ".func f() { ret; }"), {"PTX line 4: .func"}));
}

TEST_CASE("registers must be there and fit") {
  CHECK(says(refusal("add.s32 %r3, %r1, %r99;"), {"PTX line 13: add.s32", "'%r99' is neither a register nor a variable"}));
  CHECK(says(refusal("add.s32 %r99, %r1, %r2;"), {"'%r99' is no register"}));
  CHECK(says(refusal("add.s32 %rd6, %r1, %r2;"), {"the register has 64 bits, the type 32"}));
  CHECK(says(refusal("add.s64 %rd6, %rd1, %r2;"), {"the register has 32 bits, the type 64"}));
  CHECK(says(refusal("add.f32 %f1, %p1, %f2;"), {"predicate"}));
  CHECK(says(refusal("selp.b32 %r3, %r1, %r2, %r1;"), {"predicate"}));
  CHECK(says(refusal("@%r1 ret;"), {"predicate"}));
  CHECK(says(refusal("ld.global.u32 %rs1, [%rd1];"), {"the register has 16 bits, the type 32"}));
  CHECK(says(refusal("ld.global.v2.u32 %r1, [%rd1];"), {"too few registers"}));
  CHECK(says(refusal("ld.global.u32 {%r1, %r2}, [%rd1];"), {"too many registers"}));
  CHECK(says(refusal("ld.global.u32 %r1, [%rs1];"), {"less than 32 bits"}));
  CHECK(says(refusal(".reg .s32 whole; add.f32 %f1, whole, %f2;"), {"floats in an operation of integers"}));
  CHECK(says(refusal("mov.b64 {%r1, %r2, %r3}, %rd1;"), {"not so many parts"}));
  CHECK(says(refusal(".reg .b32 %r<3>;"), {"declared twice"}));
  CHECK(refusal("{ .reg .b32 %r<3>; mov.u32 %r2, 1; }") == "no error");  // a scope of its own
}

TEST_CASE("texts that end, jump or nest wrongly") {
  CHECK(says(refusal("bra $nowhere;"), {"PTX line 13: bra", "no label '$nowhere'"}));
  CHECK(says(refusal("$a: $a: ret;"), {"label is there twice"}));
  CHECK(says(refusal("add.s32 %r3, %r1, %r2"), {"';' is missing"}));
  CHECK(says(refusal("add.s32 %r3, %r1;"), {"',' is missing"}));
  CHECK(says(refusal("ld.global.u32 %r3, [%rd1;"), {"']' is missing"}));
  CHECK(says(refusal("mov.u32 %r3, 0x1G;"), {"'0x1G' is no number"}));
  CHECK(says(refusal("mov.u32 %r3, 99999999999999999999;"), {"is no number"}));
  CHECK(says(refusal("mov.u32 %r3, #;"), {"not a character of PTX"}));
  CHECK(says(refusal("/* "), {"no end"}));
  CHECK(says(refusal(".shared .align 3 .b8 s[4];"), {"no alignment"}));
  CHECK(says(refusal(".shared .align 4 .b8 s[4000000000];"), {"no possible size"}));
  CHECK(says(refusal(".reg .b32 %q<4000000000>;"), {"too many registers"}));
  CHECK(says(refusal_of_text(""), {".version"}));
  CHECK(says(refusal_of_text(kHead + ".visible .entry k("), {".param"}));
  CHECK(says(refusal_of_text(kHead + ".const .u32 t[1] = {1, 2};"), {"more values than room"}));
}

TEST_CASE("a text that is cut or has a wrong character is refused or read, never worse") {
  const std::string text = kernel_text(
      "$l: ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1+16]; @!%p1 bra $l; mov.b64 {%r3, %r4}, %rd1; shfl.sync.bfly.b32 %r3|%p1, %r1, 1, "
      "31, -1;",
      ".const .align 4 .u32 table[2] = {5, 9};\n");
  const auto survives = [](const std::string& hostile) {
    try {
      parse(hostile);
    } catch (const Error&) {}
  };
  for (std::size_t n = 0; n < text.size(); n++) survives(text.substr(0, n));
  std::mt19937 random(1);
  for (int i = 0; i < 2000; i++) {
    std::string hostile = text;
    for (int k = 0; k < 3; k++) hostile[random() % hostile.size()] = static_cast<char>(random() % 128);
    survives(hostile);
  }
  CHECK(refusal_of_text(text) == "no error");
}
