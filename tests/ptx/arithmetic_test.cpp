// Each instruction on chosen numbers: what PTX's manual says comes out.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "tests/ptx/small_kernel.h"

using namespace leafcutter;
using namespace leafcutter::ptx;

namespace {

// `instruction` with destination d and sources a, b, c, all registers of one kind: r, rd, rs, f or fd.
template <class Out, class In>
Out evaluate(const std::string& instruction, const std::vector<In>& in) {
  const std::string width = std::to_string(8 * sizeof(In)), out_width = std::to_string(8 * sizeof(Out));
  std::string body = ".reg .b" + width + " %a, %b, %c;\n.reg .b" + out_width + " %d;\n";
  const char* const names[] = {"%a", "%b", "%c"};
  for (std::size_t i = 0; i < in.size(); i++)
    body += "ld.global.b" + width + " " + names[i] + ", [%rd1+" + std::to_string(i * sizeof(In)) + "];\n";
  body += instruction + "\nst.global.b" + out_width + " [%rd2], %d;\n";
  std::vector<Out> out(1);
  Launch launch;
  launch.threads = 1;
  run_small(kernel_text(body), in, out, launch);
  return out[0];
}

std::uint32_t u(const std::string& instruction, const std::vector<std::uint32_t>& in) { return evaluate<std::uint32_t>(instruction, in); }
std::int32_t s(const std::string& instruction, const std::vector<std::int32_t>& in) { return evaluate<std::int32_t>(instruction, in); }
std::uint64_t w(const std::string& instruction, const std::vector<std::uint64_t>& in) { return evaluate<std::uint64_t>(instruction, in); }
float f(const std::string& instruction, const std::vector<float>& in) { return evaluate<float>(instruction, in); }

bool p(const std::string& comparison, float a, float b) {
  return evaluate<std::uint32_t>("setp." + comparison + ".f32 %p1, %a, %b; selp.u32 %d, 1, 0, %p1;", std::vector<float>{a, b}) != 0;
}

}  // namespace

TEST_CASE("integers compute modulo their width") {
  CHECK(u("add.s32 %d, %a, %b;", {0xffffffffu, 2}) == 1);
  CHECK(u("sub.s32 %d, %a, %b;", {0, 1}) == 0xffffffffu);
  CHECK(w("add.s64 %d, %a, -1;", {0}) == ~std::uint64_t{0});
  CHECK(u("mul.lo.s32 %d, %a, %b;", {0x10001, 0x10001}) == 0x20001);
  CHECK(u("mul.hi.u32 %d, %a, %b;", {0xffffffffu, 0xffffffffu}) == 0xfffffffeu);
  CHECK(s("mul.hi.s32 %d, %a, %b;", {-1, 5}) == -1);
  CHECK(w("mul.hi.u64 %d, %a, %b;", {~std::uint64_t{0}, 16}) == 15);
  CHECK(evaluate<std::uint64_t>("mul.wide.u32 %d, %a, %b;", std::vector<std::uint32_t>{0xffffffffu, 2}) == 0x1fffffffeull);
  CHECK(evaluate<std::int64_t>("mul.wide.s32 %d, %a, %b;", std::vector<std::int32_t>{-3, 2}) == -6);
  CHECK(evaluate<std::int32_t>("mul.wide.s16 %d, %a, %b;", std::vector<std::int16_t>{-300, 200}) == -60000);
  CHECK(u("mad.lo.s32 %d, %a, %b, %c;", {7, 6, 5}) == 47);
  CHECK(s("div.s32 %d, %a, %b;", {-7, 2}) == -3);
  CHECK(s("rem.s32 %d, %a, %b;", {-7, 2}) == -1);
  CHECK(w("div.u64 %d, %a, %b;", {~std::uint64_t{0}, 3}) == 0x5555555555555555ull);
  CHECK(s("min.s32 %d, %a, %b;", {-7, 2}) == -7);
  CHECK(u("min.u32 %d, %a, %b;", {0xfffffff9u, 2}) == 2);
  CHECK(s("max.s32 %d, %a, %b;", {-7, 2}) == 2);
  CHECK(s("neg.s32 %d, %a;", {std::numeric_limits<std::int32_t>::min()}) == std::numeric_limits<std::int32_t>::min());
  CHECK(s("abs.s32 %d, %a;", {-5}) == 5);
}

TEST_CASE("bits are shifted, joined, cut out and put in") {
  CHECK(u("and.b32 %d, %a, %b;", {12, 10}) == 8);
  CHECK(u("or.b32 %d, %a, %b;", {12, 10}) == 14);
  CHECK(u("xor.b32 %d, %a, -2139062144;", {0}) == 0x80808080u);
  CHECK(u("not.b32 %d, %a;", {1}) == 0xfffffffeu);
  CHECK(u("shl.b32 %d, %a, %b;", {1, 31}) == 0x80000000u);
  CHECK(u("shl.b32 %d, %a, %b;", {1, 32}) == 0);
  CHECK(u("shr.u32 %d, %a, %b;", {0x80000000u, 31}) == 1);
  CHECK(u("shr.u32 %d, %a, %b;", {0x80000000u, 99}) == 0);
  CHECK(s("shr.s32 %d, %a, %b;", {-8, 1}) == -4);
  CHECK(s("shr.s32 %d, %a, %b;", {-8, 99}) == -1);
  CHECK(w("shl.b64 %d, %a, 40;", {1}) == 1ull << 40);
  CHECK(u("bfe.u32 %d, %a, 4, 8;", {0xabcd}) == 0xbc);
  CHECK(s("bfe.s32 %d, %a, 4, 8;", {0xabcd}) == static_cast<std::int8_t>(0xbc));
  CHECK(u("bfe.u32 %d, %a, 28, 8;", {0xf0000000u}) == 0xf);
  CHECK(u("bfe.u32 %d, %a, 3, 0;", {~0u}) == 0);
  CHECK(u("bfi.b32 %d, %a, %b, 8, 4;", {0xff, 0}) == 0xf00);
  CHECK(u("prmt.b32 %d, %a, %b, 0x7401;", {0x44332211, 0x88776655}) == 0x88551122u);
  CHECK(u("prmt.b32 %d, %a, %b, 0x000c;", {0x80332211, 0xf8776655}) == 0x11111100u);  // byte 4 is positive
  CHECK(u("prmt.b32 %d, %a, %b, 0x000b;", {0x80332211, 0}) == 0x111111ffu);
  CHECK(u("shf.l.wrap.b32 %d, %a, %b, 4;", {0xf0000000u, 1}) == 0x1fu);
  CHECK(u("shf.r.clamp.b32 %d, %a, %b, 40;", {5, 9}) == 9);
  CHECK(u("lop3.b32 %d, %a, %b, %c, 0xe8;", {12, 10, 6}) == 14);  // the majority
  CHECK(u("popc.b32 %d, %a;", {0xf0f}) == 8);
  CHECK(u("clz.b32 %d, %a;", {1}) == 31);
  CHECK(u("brev.b32 %d, %a;", {1}) == 0x80000000u);
}

TEST_CASE("dp4a takes bytes of either sign") {
  const std::uint32_t a = 0xff02807f, b = 0x0180fe03;
  const auto sum = [&](bool a_signed, bool b_signed) {
    int total = 10;
    for (unsigned i = 0; i < 32; i += 8) {
      const auto byte = [&](std::uint32_t word, bool is_signed) {
        return is_signed ? int{static_cast<std::int8_t>(word >> i)} : int{static_cast<std::uint8_t>(word >> i)};
      };
      total += byte(a, a_signed) * byte(b, b_signed);
    }
    return static_cast<std::uint32_t>(total);
  };
  CHECK(u("dp4a.s32.s32 %d, %a, %b, %c;", {a, b, 10}) == sum(true, true));
  CHECK(u("dp4a.u32.s32 %d, %a, %b, %c;", {a, b, 10}) == sum(false, true));
  CHECK(u("dp4a.s32.u32 %d, %a, %b, %c;", {a, b, 10}) == sum(true, false));
  CHECK(u("dp4a.u32.u32 %d, %a, %b, %c;", {a, b, 10}) == sum(false, false));
}

TEST_CASE("floats round to nearest, and fma once") {
  CHECK(f("add.rn.f32 %d, %a, %b;", {1, 0x1p-24f}) == 1);
  CHECK(f("fma.rn.f32 %d, %a, %b, %c;", {1 + 0x1p-12f, 1 + 0x1p-12f, -1}) == 0x1p-11f + 0x1p-24f);
  CHECK(f("mul.f32 %d, %a, 0f40000000;", {3}) == 6);
  CHECK(f("mul.ftz.f32 %d, %a, %b;", {0x1p-100f, 0x1p-40f}) == 0);
  CHECK(f("div.rn.f32 %d, %a, %b;", {1, 3}) == 1.0f / 3);
  CHECK(std::isnan(f("add.f32 %d, %a, %b;", {INFINITY, -INFINITY})));
  CHECK(f("max.f32 %d, %a, %b;", {NAN, 2}) == 2);
  CHECK(f("min.f32 %d, %a, %b;", {3, 2}) == 2);
  CHECK(f("neg.f32 %d, %a;", {3}) == -3);
  CHECK(f("abs.f32 %d, %a;", {-3}) == 3);
  CHECK(f("copysign.f32 %d, %a, %b;", {-1, 3}) == -3);
  CHECK(f("sqrt.rn.f32 %d, %a;", {2}) == std::sqrt(2.0f));
  CHECK(f("rcp.approx.f32 %d, %a;", {8}) == 0.125f);
  CHECK(f("rsqrt.approx.f32 %d, %a;", {4}) == 0.5f);
  CHECK(f("ex2.approx.f32 %d, %a;", {-3}) == 0.125f);
  CHECK(f("ex2.approx.ftz.f32 %d, %a;", {-130}) == 0);
  CHECK(f("lg2.approx.f32 %d, %a;", {8}) == 3);
  CHECK(evaluate<double>("fma.rn.f64 %d, %a, %b, %c;", std::vector<double>{3, 4, 0.5}) == 12.5);
  CHECK(evaluate<double>("add.f64 %d, %a, 0d3FF0000000000000;", std::vector<double>{2}) == 3);
  const std::uint16_t three = half_from_float(3), half_of_five = half_from_float(2.5f);
  CHECK(evaluate<std::uint16_t>("mul.f16 %d, %a, %b;", std::vector<std::uint16_t>{three, half_of_five}) == half_from_float(7.5f));
}

TEST_CASE("comparisons of floats know what cannot be compared") {
  for (const float other : {1.0f, 2.0f, NAN}) {
    CAPTURE(other);
    CHECK(p("eq", 2, other) == (2 == other));
    CHECK(p("ne", 2, other) == (2 < other || 2 > other));
    CHECK(p("neu", 2, other) == (2 != other));
    CHECK(p("lt", 1, other) == (1 < other));
    CHECK(p("ltu", 1, other) == !(1 >= other));
    CHECK(p("geu", 1, other) == !(1 < other));
    CHECK(p("gt", 2, other) == (2 > other));
    CHECK(p("leu", 2, other) == !(2 > other));
    CHECK(p("num", 2, other) == !std::isnan(other));
    CHECK(p("nan", 2, other) == std::isnan(other));
  }
  CHECK(u("setp.lo.u32 %p1, %a, %b; selp.b32 %d, 7, 8, %p1;", {1, 0x80000000u}) == 7);
  CHECK(u("setp.lt.s32 %p1, %a, %b; selp.b32 %d, 7, 8, %p1;", {1, 0x80000000u}) == 8);
  CHECK(u("setp.eq.s32 %p1, %a, 1; not.pred %p2, %p1; or.pred %p3, %p2, %p1; selp.b32 %d, 7, 8, %p3;", {1}) == 7);
}

TEST_CASE("cvt rounds as it is told, holds results within their type and extends by sign") {
  const std::vector<std::pair<std::string, int>> roundings = {{"rni", -2}, {"rzi", -2}, {"rmi", -3}, {"rpi", -2}};
  for (const auto& [name, want] : roundings) {
    const std::string rounding = name;
    CAPTURE(rounding);
    CHECK(evaluate<std::int32_t>("cvt." + rounding + ".s32.f32 %d, %a;", std::vector<float>{-2.5f}) == want);
  }
  CHECK(evaluate<std::int32_t>("cvt.rni.s32.f32 %d, %a;", std::vector<float>{3.5f}) == 4);
  CHECK(evaluate<std::int32_t>("cvt.rni.s32.f32 %d, %a;", std::vector<float>{4e9f}) == std::numeric_limits<std::int32_t>::max());
  CHECK(evaluate<std::int32_t>("cvt.rni.s32.f32 %d, %a;", std::vector<float>{NAN}) == 0);
  CHECK(evaluate<std::uint32_t>("cvt.rzi.u32.f32 %d, %a;", std::vector<float>{-4}) == 0);
  CHECK(evaluate<float>("cvt.rn.f32.s32 %d, %a;", std::vector<std::int32_t>{-16777217}) == -16777216);
  CHECK(evaluate<float>("cvt.rm.f32.s32 %d, %a;", std::vector<std::int32_t>{-16777217}) == -16777218);
  CHECK(evaluate<float>("cvt.rz.f32.u32 %d, %a;", std::vector<std::uint32_t>{0xffffffffu}) == 4294967040.0f);
  CHECK(evaluate<float>("cvt.rp.f32.u32 %d, %a;", std::vector<std::uint32_t>{0xffffff01u}) == 4294967296.0f);
  CHECK(evaluate<float>("cvt.rn.f32.u64 %d, %a;", std::vector<std::uint64_t>{~std::uint64_t{0}}) == 0x1p64f);
  CHECK(evaluate<float>("cvt.rni.f32.f32 %d, %a;", std::vector<float>{2.5f}) == 2);
  CHECK(evaluate<float>("cvt.sat.f32.f32 %d, %a;", std::vector<float>{2.5f}) == 1);
  CHECK(evaluate<float>("cvt.rn.f32.f64 %d, %a;", std::vector<double>{0.1}) == 0.1f);
  CHECK(evaluate<float>("cvt.f32.f16 %d, %a;", std::vector<std::uint16_t>{half_from_float(-0.375f)}) == -0.375f);
  CHECK(evaluate<std::uint16_t>("cvt.rn.f16.f32 %d, %a;", std::vector<float>{1 + 0x1p-11f}) == half_from_float(1));
  CHECK(evaluate<std::int32_t>("cvt.s32.s8 %d, %a;", std::vector<std::uint32_t>{0xff80}) == -128);
  CHECK(evaluate<std::uint32_t>("cvt.u32.u8 %d, %a;", std::vector<std::uint32_t>{0xff80}) == 128);
  CHECK(evaluate<std::int64_t>("cvt.s64.s32 %d, %a;", std::vector<std::int32_t>{-5}) == -5);
  CHECK(evaluate<std::uint32_t>("cvt.u32.u64 %d, %a;", std::vector<std::uint64_t>{0x700000001ull}) == 1);
  CHECK(evaluate<std::uint32_t>("cvt.sat.u8.s32 %d, %a;", std::vector<std::int32_t>{300}) == 255);
  CHECK(evaluate<std::int32_t>("cvt.sat.s8.s32 %d, %a;", std::vector<std::int32_t>{-300}) == -128);
}

TEST_CASE("registers are taken apart and put together") {
  CHECK(w("mov.b64 {%r3, %r4}, %a; mov.b64 %d, {%r4, %r3};", {0x0000000100000002ull}) == 0x0000000200000001ull);
  CHECK(u("mov.b32 {%rs1, %rs2}, %a; mov.b32 %d, {%rs2, %rs1};", {0x00010002u}) == 0x00020001u);
}
