// Warps, branches, barriers and memory; and what must be refused.
#include "tests/support/ptx/interpreter.h"

#include <doctest/doctest.h>

#include <numeric>

#include "tests/ptx/small_kernel.h"

using namespace leafcutter::ptx;

namespace {

constexpr std::size_t kThreads = 64;

Launch blocks_of(std::uint32_t threads, std::uint32_t blocks = 1, std::uint32_t shared_bytes = 0) {
  Launch launch;
  launch.threads = threads;
  launch.grid = {blocks, 1, 1};
  launch.shared_bytes = shared_bytes;
  return launch;
}

std::vector<std::uint32_t> numbers(std::size_t n) {
  std::vector<std::uint32_t> values(n);
  std::iota(values.begin(), values.end(), 100u);
  return values;
}

struct Ran {
  std::vector<std::uint32_t> in, out;
  Outcome outcome;
};

Ran run_body(const std::string& body, const Launch& launch, const std::string& before = "") {
  Ran ran{numbers(256), std::vector<std::uint32_t>(256, 7), {}};
  ran.outcome = run_small(kernel_text(body, before), ran.in, ran.out, launch);
  return ran;
}

// What the error says.
std::string refusal(const std::string& body, const Launch& launch = blocks_of(32), const std::string& before = "") {
  try {
    run_body(body, launch, before);
  } catch (const std::runtime_error& e) { return e.what(); }
  return "no error";
}

}  // namespace

TEST_CASE("threads of all blocks run, in odd warps too") {
  const Ran ran = run_body(
      "ld.global.u32 %r3, [%rd4]; mad.lo.s32 %r3, %r2, 1000, %r3; "
      "mul.wide.u32 %rd7, %r2, 160; add.s64 %rd6, %rd5, %rd7; st.global.u32 [%rd6], %r3;",
      blocks_of(40, 3));
  for (std::uint32_t block = 0; block < 3; block++)
    for (std::uint32_t thread = 0; thread < 40; thread++) CHECK(ran.out[block * 40 + thread] == 100 + thread + 1000 * block);
  CHECK(ran.outcome.counters.blocks == 3);
}

TEST_CASE("chosen blocks run alone") {
  Launch launch = blocks_of(32, 4);
  launch.blocks = {2};
  const Ran ran = run_body("mul.wide.u32 %rd7, %r2, 128; add.s64 %rd6, %rd5, %rd7; st.global.u32 [%rd6], %r2;", launch);
  CHECK(ran.out[63] == 7);
  CHECK(ran.out[64] == 2);
  CHECK(ran.out[96] == 7);
  CHECK(ran.outcome.counters.blocks == 1);
}

TEST_CASE("lanes that went different ways meet again") {
  // Thread t adds 1 in a loop of t % 4 rounds; then all of a warp shuffle, which needs all lanes in one place.
  const Ran ran = run_body(R"(and.b32 %r3, %r1, 3; mov.u32 %r4, 0;
$loop:
  setp.eq.s32 %p1, %r4, %r3;
  @%p1 bra $done;
  add.s32 %r4, %r4, 1;
  bra.uni $loop;
$done:
  shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1;
  st.global.u32 [%rd5], %r5;)",
                           blocks_of(kThreads));
  for (std::uint32_t t = 0; t < kThreads; t++) CHECK(ran.out[t] == ((t ^ 1) & 3));
  CHECK(ran.outcome.counters.divergent > 0);
}

TEST_CASE("lanes meet again behind a branch wherever the text has that place") {
  // The place where they meet lies in front of the part that only some run.
  const Ran ran = run_body(R"(mov.u32 %r4, 5; setp.lt.u32 %p1, %r1, 7;
  @%p1 bra $some;
  bra.uni $meet;
$meet:
  shfl.sync.idx.b32 %r5, %r4, 3, 31, -1;
  st.global.u32 [%rd5], %r5;
  ret;
$some:
  mov.u32 %r4, 9;
  bra.uni $meet;)",
                           blocks_of(32));
  for (std::uint32_t t = 0; t < 32; t++) CHECK(ran.out[t] == 9);
}

TEST_CASE("shuffles of every kind give the lane that is asked for, or the own where there is none") {
  const std::pair<const char*, int (*)(int)> kinds[] = {
      {"shfl.sync.up.b32 %r3, %r1, 2, 0, -1;", [](int l) { return l < 2 ? l : l - 2; }},
      {"shfl.sync.down.b32 %r3, %r1, 2, 31, -1;", [](int l) { return l > 29 ? l : l + 2; }},
      {"shfl.sync.bfly.b32 %r3, %r1, 5, 31, -1;", [](int l) { return l ^ 5; }},
      {"shfl.sync.idx.b32 %r3, %r1, 9, 31, -1;", [](int) { return 9; }},
      {"shfl.sync.idx.b32 %r3, %r1, 1, 0x181f, -1;", [](int l) { return (l & 24) + 1; }},  // within eights
      {"shfl.sync.down.b32 %r3|%p1, %r1, 8, 31, -1; selp.b32 %r3, 1, 0, %p1;", [](int l) { return l < 24 ? 1 : 0; }}};
  for (const auto& [instruction, want] : kinds) {
    const std::string text = instruction;
    CAPTURE(text);
    const Ran ran = run_body(text + " st.global.u32 [%rd5], %r3;", blocks_of(32));
    for (int l = 0; l < 32; l++) CHECK(ran.out[static_cast<std::size_t>(l)] == static_cast<std::uint32_t>(want(l)));
  }
}

TEST_CASE("votes are over the lanes of a warp") {
  const auto vote = [](const std::string& what) {
    return run_body("setp.lt.u32 %p1, %r1, 40; " + what + " st.global.u32 [%rd5], %r3;", blocks_of(kThreads)).out;
  };
  const auto any = vote("vote.sync.any.pred %p2, %p1, -1; selp.b32 %r3, 1, 0, %p2;"),
             all = vote("vote.sync.all.pred %p2, %p1, -1; selp.b32 %r3, 1, 0, %p2;"),
             none = vote("vote.sync.any.pred %p2, !%p1, -1; selp.b32 %r3, 1, 0, %p2;"), ballot = vote("vote.sync.ballot.b32 %r3, %p1, -1;");
  CHECK((any[0] == 1 && any[32] == 1));
  CHECK((all[0] == 1 && all[32] == 0));
  CHECK((none[0] == 0 && none[32] == 1));
  CHECK((ballot[0] == 0xffffffffu && ballot[32] == 0xffu));
}

TEST_CASE("barriers order the warps of a block, and shared memory is each block's own") {
  const std::string body = R"(.shared .align 4 .b8 first[256];
  mov.u64 %rd6, first; add.s64 %rd7, %rd6, %rd3;
  st.shared.u32 [%rd7], %r1;
  bar.sync 0;
  sub.s32 %r3, 63, %r1; mul.wide.u32 %rd8, %r3, 4; add.s64 %rd9, %rd6, %rd8;
  ld.shared.u32 %r4, [%rd9];
  mov.u64 %rd10, dynamic; add.s64 %rd11, %rd10, %rd3;
  st.shared.u32 [%rd11], %r4;
  cvta.shared.u64 %rd12, %rd11;
  ld.u32 %r5, [%rd12];
  st.global.u32 [%rd5], %r5;)";
  const Ran ran = run_body(body, blocks_of(kThreads, 1, 256), ".extern .shared .align 16 .b8 dynamic[];\n");
  for (std::uint32_t t = 0; t < kThreads; t++) CHECK(ran.out[t] == 63 - t);
  CHECK(says(refusal(body, blocks_of(kThreads, 1, 252), ".extern .shared .align 16 .b8 dynamic[];\n"),
             {"st.shared.u32", "508", "of shared memory", "thread 63"}));
}

TEST_CASE("vectors, constants, a thread's own memory and addresses without a space") {
  const Ran ran = run_body(R"(.local .align 16 .b8 own[32];
  mov.u64 %rd6, table; ld.const.u32 %r3, [table+4]; ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd1];
  mov.u64 %rd7, own; st.local.v2.u32 [%rd7+8], {%r6, %r1}; cvta.local.u64 %rd8, %rd7; ld.u32 %r8, [%rd8+12];
  add.s32 %r9, %r3, %r7; add.s32 %r9, %r9, %r8; st.u32 [%rd5], %r9;)",
                           blocks_of(32), ".const .align 4 .u32 table[2] = {5, 9};\n");
  for (std::uint32_t t = 0; t < 32; t++) CHECK(ran.out[t] == 9 + 103 + t);
  CHECK(ran.outcome.counters.local_requests == 1);
}

TEST_CASE("bytes are loaded with and without sign") {
  const Ran ran = run_body(
      "st.global.u8 [%rd5], 0x85; ld.global.s8 %rs1, [%rd5]; cvt.s32.s16 %r3, %rs1; ld.global.u8 %r4, [%rd5]; add.s32 %r3, %r3, %r4; "
      "st.global.u32 [%rd5], %r3;",
      blocks_of(1));
  CHECK(ran.out[0] == static_cast<std::uint32_t>(-0x7b + 0x85));
}

TEST_CASE("atomics add up over threads") {
  const Ran ran = run_body("red.global.add.u32 [%rd2], 1; atom.global.max.u32 %r3, [%rd2+4], %r1; atom.global.cas.b32 %r4, [%rd2+8], 7, 1;",
                           blocks_of(kThreads));
  CHECK(ran.out[0] == 7 + kThreads);
  CHECK(ran.out[1] == 63);
  CHECK(ran.out[2] == 1);
}

TEST_CASE("sectors, passes and bank conflicts are counted as a card has them") {
  const auto counters = [](const std::string& body, std::uint32_t threads = 32) {
    return run_body(body, blocks_of(threads)).outcome.counters;
  };
  const Counters lines = counters("ld.global.nc.u32 %r3, [%rd4];");
  CHECK(lines.global_loads.requests == 1);
  CHECK(lines.global_loads.sectors <= 5);  // 4, or 5 where the vector does not begin at a sector
  CHECK(lines.dram_read_bytes == 32 * lines.global_loads.sectors);
  CHECK(lines.dram_write_bytes == 0);
  const Counters strided = counters("mul.wide.u32 %rd6, %r1, 32; add.s64 %rd6, %rd1, %rd6; ld.global.u32 %r3, [%rd6];", 16);
  CHECK(strided.global_loads.sectors == 16);
  CHECK(strided.global_loads.excess_sectors == 14);  // 64 bytes asked for
  CHECK(counters("ld.global.u32 %r3, [%rd1];").global_loads.sectors == 1);

  const std::string shared = ".shared .align 16 .b8 s[4096]; mov.u64 %rd6, s; ";
  const auto conflicts = [&](unsigned stride, const std::string& load, std::uint32_t threads = 32) {
    const Counters c =
        counters(shared + "mul.wide.u32 %rd7, %r1, " + std::to_string(stride) + "; add.s64 %rd6, %rd6, %rd7; " + load, threads);
    return std::pair{c.load_store_passes, c.bank_conflicts};
  };
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  CHECK(conflicts(4, "ld.shared.u32 %r3, [%rd6];") == Pair{1, 0});
  CHECK(conflicts(0, "ld.shared.u32 %r3, [%rd6];") == Pair{1, 0});  // one word for all
  CHECK(conflicts(8, "ld.shared.u32 %r3, [%rd6];") == Pair{2, 1});
  CHECK(conflicts(128, "ld.shared.u32 %r3, [%rd6];") == Pair{32, 31});
  CHECK(conflicts(16, "ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%rd6];") == Pair{4, 0});
  CHECK(conflicts(32, "ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%rd6];") == Pair{8, 4});
}

TEST_CASE("what a launch reads again or after writing comes from DRAM once or not at all") {
  const Ran ran = run_body("ld.global.u32 %r3, [%rd4]; st.global.u32 [%rd5], %r3; ld.global.u32 %r4, [%rd5]; ld.global.u32 %r4, [%rd4];",
                           blocks_of(32));
  const Counters& c = ran.outcome.counters;
  CHECK(c.global_loads.requests == 3);
  CHECK(c.dram_read_bytes <= 5 * 32);
  CHECK(c.dram_write_bytes <= 5 * 32);
}

TEST_CASE("a launch that a card would refuse is refused") {
  CHECK(says(refusal("", blocks_of(1025)), {"k cannot be launched", "1025 threads"}));
  CHECK(says(refusal("", blocks_of(32, 1, 60000)), {"60000 bytes of shared memory"}));
  Launch outside = blocks_of(32, 2);
  outside.blocks = {2};
  CHECK(says(refusal("", outside), {"no block 2"}));
  const Module module = parse(kernel_text(""));
  GlobalMemory memory;
  const std::uint64_t one = 0;
  CHECK_THROWS_AS(run(module, module.kernel("k"), {}, std::as_bytes(std::span(&one, 1)), memory), std::runtime_error);
  CHECK_THROWS_AS(module.kernel("other"), std::runtime_error);
}

TEST_CASE("what a card would do silently, or fault on, is an error with its line") {
  CHECK(says(refusal("ld.global.u32 %r3, [%rd4+1024];"), {"PTX line 13: ld.global.u32", "lie in no buffer", "thread 0"}));
  CHECK(says(refusal("\nld.global.u32 %r3, [%rd1+-4];"), {"PTX line 14", "lie in no buffer"}));
  CHECK(says(refusal("ld.global.u32 %r3, [%rd4+2];"), {"ld.global.u32", "no multiple of 4"}));
  CHECK(says(refusal("ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd4];"), {"no multiple of 16", "thread 1"}));
  CHECK(says(refusal("st.global.u32 [%rd4], %r1;"), {"buffer 'in' is read-only"}));
  CHECK(says(refusal("st.global.u32 [%rd5], %r1; ld.global.nc.u32 %r3, [%rd5];"), {"ld.global.nc.u32", "the launch has written"}));
  CHECK(says(refusal("ld.global.nc.u32 %r3, [%rd5]; st.global.u32 [%rd5], %r1;"), {"st.global.u32", "ld.global.nc has read"}));
  CHECK(says(refusal("setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0;"), {"bar.sync", "only part of a warp"}));
  CHECK(says(refusal("setp.lt.u32 %p1, %r1, 32; @%p1 ret; bar.sync 0;", blocks_of(64)), {"bar.sync", "32 threads of the block have left"}));
  CHECK(says(refusal("setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;"), {"shfl.sync.bfly.b32", "not all lanes"}));
  CHECK(says(refusal("setp.lt.u32 %p1, %r1, 16; @%p1 bar.warp.sync -1;"), {"bar.warp.sync", "not all lanes"}));
  Launch endless = blocks_of(32);
  endless.most_instructions = 1000;
  CHECK(says(refusal("$again: bra $again;", endless), {"bra", "does not end"}));
  CHECK(says(refusal(".shared .align 4 .b8 s[64]; mov.u64 %rd6, s; ld.shared.u32 %r3, [%rd6+64];"), {"ld.shared.u32", "of shared memory"}));
  CHECK(says(refusal("ld.param.u64 %rd6, [k_1+8];"), {"ld.param.u64", "outside of the arguments"}));
}

TEST_CASE("shared memory and registers are not numbers before they are written") {
  const Ran ran = run_body(
      ".shared .align 4 .b8 s[64]; mov.u64 %rd6, s; ld.shared.f32 %f1, [%rd6]; add.f32 %f2, %f3, 0f3F800000; "
      "setp.nan.f32 %p1, %f1, %f1; setp.nan.f32 %p2, %f2, %f2; and.pred %p3, %p1, %p2; selp.u32 %r3, 1, 0, %p3; st.global.u32 [%rd5], %r3;",
      blocks_of(1));
  CHECK(ran.out[0] == 1);
}
