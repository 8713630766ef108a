#include "compress/pickle_reader.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/compress/torch_bytes.h"
#include "tests/support/expect_error.h"

using namespace leafcutter;
using namespace leafcutter::compress;
using compress::test::PickleBytes;
using compress::test::raw_bytes;

namespace {

constexpr PickleGlobal kGlobals[] = {{"collections", "OrderedDict", PickleGlobal::Use::ordered_dict},
                                     {"some.module", "function", PickleGlobal::Use::call},
                                     {"some.module", "Kind", PickleGlobal::Use::value}};

Pickle read(const std::string& bytes) { return read_pickle(std::as_bytes(std::span(bytes)), kGlobals, "model.pt, entry a/data.pkl"); }

std::string repeated(const std::string& part, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; i++) all += part;
  return all;
}

PickleBytes pickle() { return {}; }
PickleBytes with(const std::string& opcodes) { return PickleBytes().op(opcodes); }

// What pickle.dumps makes of an object whose __reduce__ gives (os.system, ("touch /tmp/x",)), in several protocols.
std::string system_call(const std::string& module) {
  return pickle().global(module, "system").op("(").text("touch /tmp/x").op("tR").stop();
}

struct BadPickle {
  std::string name;
  std::string bytes;
  std::vector<std::string> parts;
};

const BadPickle kBadPickles[] = {
    {"nothing", "", {"offset 0", "needs 1 bytes"}},
    {"text", "hello", {"does not begin with PROTO"}},
    {"protocol 0", std::string("(dp0\n."), {"does not begin with PROTO"}},
    {"protocol 1", std::string("\x80\x01N."), {"protocol 1"}},
    {"protocol 6", std::string("\x80\x06N."), {"protocol 6"}},
    {"a second PROTO", with("\x80\x02N").stop(), {"opcode PROTO", "offset 2"}},
    {"no STOP", with("N").bytes, {"ends without STOP", "offset 3"}},
    {"STOP on nothing", pickle().stop(), {"STOP with 0 values"}},
    {"STOP on two values", with("NN").stop(), {"STOP with 2 values"}},
    {"STOP within a mark", with("N(").stop(), {"STOP"}},
    {"bytes behind STOP", with("N").stop() + "N", {"1 bytes behind STOP"}},
    {"os.system", system_call("os"), {"global os.system", "nothing was executed"}},
    {"posix.system", system_call("posix"), {"global posix.system", "nothing was executed"}},
    {"nt.system", system_call("nt"), {"global nt.system"}},
    {"builtins.eval", pickle().global("builtins", "eval").op("(").text("1").op("tR").stop(), {"global builtins.eval"}},
    {"builtins.exec", pickle().global("builtins", "exec").op("(").text("1").op("tR").stop(), {"global builtins.exec"}},
    {"__builtin__.getattr", pickle().global("__builtin__", "getattr").stop(), {"global __builtin__.getattr"}},
    {"subprocess.Popen", pickle().global("subprocess", "Popen").stop(), {"global subprocess.Popen"}},
    {"runpy by STACK_GLOBAL", pickle().text("runpy").text("_run_code").op("\x93").stop(), {"global runpy._run_code"}},
    {"a dotted name", pickle().global("collections", "OrderedDict.fromkeys").stop(), {"global collections.OrderedDict.fromkeys"}},
    {"a dotted name by STACK_GLOBAL", pickle().text("some").text("module.function").op("\x93").stop(), {"global some.module.function"}},
    {"a global with an escape in its name", pickle().global("os", "\x1b[2J").stop(), {"global os.?[2J"}},
    {"a global without an end", with("c" + std::string(5000, 'm')).stop(), {"does not end within 256"}},
    {"a global cut short", with("cos\nsys").bytes, {"does not end"}},
    {"STACK_GLOBAL on numbers", pickle().number(1).number(2).op("\x93").stop(), {"STACK_GLOBAL without two texts"}},
    {"STACK_GLOBAL on nothing", with("\x93").stop(), {"STACK_GLOBAL needs 2"}},
    {"INST", with("(ios\nsystem\n").stop(), {"opcode INST"}},
    {"OBJ", with("(No").stop(), {"opcode OBJ"}},
    {"NEWOBJ", pickle().global("some.module", "Kind").op(")\x81").stop(), {"opcode NEWOBJ"}},
    {"NEWOBJ_EX", with("))}\x92").stop(), {"opcode NEWOBJ_EX"}},
    {"EXT1", with("\x82\x01").stop(), {"opcode EXT1"}},
    {"EXT2", with("\x83\x01\x02").stop(), {"opcode EXT2"}},
    {"EXT4", with("\x84\x01\x02\x03\x04").stop(), {"opcode EXT4"}},
    {"PERSID", with("P0\n").stop(), {"opcode PERSID"}},
    {"INT", with("I1\n").stop(), {"opcode INT"}},
    {"LONG", with("L1L\n").stop(), {"opcode LONG "}},
    {"FLOAT", with("F1\n").stop(), {"opcode FLOAT"}},
    {"STRING", with("S'x'\n").stop(), {"opcode STRING"}},
    {"UNICODE", with("Vx\n").stop(), {"opcode UNICODE"}},
    {"GET", with("g0\n").stop(), {"opcode GET"}},
    {"PUT", with("Np0\n").stop(), {"opcode PUT"}},
    {"DUP", with("N2").stop(), {"opcode DUP"}},
    {"POP", with("NN0").stop(), {"opcode POP"}},
    {"POP_MARK", with("N(1").stop(), {"opcode POP_MARK"}},
    {"DICT", with("(d").stop(), {"opcode DICT"}},
    {"LIST", with("(l").stop(), {"opcode LIST"}},
    {"EMPTY_SET", with("\x8f").stop(), {"opcode EMPTY_SET"}},
    {"FROZENSET", with("(\x91").stop(), {"opcode FROZENSET"}},
    {"LONG4 of 2^31 bytes", with("\x8b" + raw_bytes(0x7fffffff)).stop(), {"opcode LONG4"}},
    {"BINBYTES8 of 2^63 bytes", with("\x8e" + raw_bytes(std::uint64_t{1} << 63)).stop(), {"opcode BINBYTES8"}},
    {"BYTEARRAY8", with("\x96" + raw_bytes(std::uint64_t{0})).stop(), {"opcode BYTEARRAY8"}},
    {"NEXT_BUFFER", with("\x97").stop(), {"opcode NEXT_BUFFER"}},
    {"READONLY_BUFFER", with("N\x98").stop(), {"opcode READONLY_BUFFER"}},
    {"an opcode that there is not", with("\xff").stop(), {"opcode 255"}},
    {"a text of 4 GiB", with("X" + raw_bytes(~0u)).stop(), {"needs 4294967295 bytes"}},
    {"a text of 2^64 - 1 bytes", with("\x8d" + raw_bytes(~std::uint64_t{0})).stop(), {"needs 18446744073709551615 bytes"}},
    {"bytes of 4 GiB", with("B" + raw_bytes(~0u)).stop(), {"needs 4294967295 bytes"}},
    {"a frame past the end", with("\x95" + raw_bytes(std::uint64_t{1} << 40)).stop(), {"FRAME of 1099511627776 bytes"}},
    {"a number of 255 bytes", with("\x8a\xff" + std::string(255, '\1')).stop(), {"a number of 255 bytes"}},
    {"a number of 9 bytes", with("\x8a\x09" + std::string(9, '\1')).stop(), {"a number of 9 bytes"}},
    {"marks a million deep", with(std::string(1'000'000, '(')).stop(), {"marks nested deeper than 32"}},
    {"lists a million deep", with(std::string(300'000, ']') + std::string(299'999, 'a')).stop(), {"nested deeper than 32"}},
    {"tuples 100,000 deep", with(")" + repeated("\x85", 100'000)).stop(), {"nested deeper than 32"}},
    {"dicts 10,000 deep", with(repeated("}K\x01", 10'000) + "N" + std::string(10'000, 's')).stop(), {"nested deeper than 32"}},
    {"tuples deep by the memo", with(")q" + std::string(1, '\0') + repeated(std::string("h\0\x85q\0", 5), 100)).stop(), {"nested deeper"}},
    {"three million values", with(std::string(3'000'000, 'N')).stop(), {"more than 400000 values"}},
    {"a million lists", with(std::string(1'000'000, ']')).stop(), {"more than 400000 values"}},
    {"five million bytes", with("C" + std::string(5'000'000, 'N')).stop(), {"at most 4194304 are read"}},
    {"memo 2^32 - 1", with("Nr" + raw_bytes(~0u)).stop(), {"memo 4294967295"}},
    {"a memo of nothing", with(std::string("q\0", 2)).stop(), {"opcode BINPUT needs 1"}},
    {"MEMOIZE of nothing", with("\x94").stop(), {"opcode MEMOIZE needs 1"}},
    {"a memo never put", with("h\x07").stop(), {"memo 7 was never put"}},
    {"a memo never put, long", with("j" + raw_bytes(~0u)).stop(), {"memo 4294967295 was never put"}},
    {"a memo below one that was put", with("Nq\x09h\x03").stop(), {"memo 3 was never put"}},
    {"TUPLE without MARK", with("Nt").stop(), {"opcode TUPLE without a MARK"}},
    {"TUPLE1 on nothing", with("\x85").stop(), {"opcode TUPLE1 needs 1"}},
    {"TUPLE3 on two", with("NN\x87").stop(), {"opcode TUPLE3 needs 3"}},
    {"TUPLE2 across a mark", with("NN(N\x86").stop(), {"opcode TUPLE2 needs 2", "1 are there"}},
    {"APPEND on nothing", with("a").stop(), {"opcode APPEND needs 2"}},
    {"APPEND to a number", with("K\1Na").stop(), {"opcode APPEND on something else than a list"}},
    {"APPEND to a tuple", with(")Na").stop(), {"opcode APPEND on something else than a list"}},
    {"APPENDS without MARK", with("]e").stop(), {"opcode APPENDS without a MARK"}},
    {"APPENDS to nothing", with("(Ne").stop(), {"opcode APPENDS without something"}},
    {"APPENDS across a mark", with("]((Ne").stop(), {"opcode APPENDS without something"}},
    {"SETITEM on a list", with("]NNs").stop(), {"opcode SETITEM on something else than a dict"}},
    {"SETITEM on two values", with("}Ns").stop(), {"opcode SETITEM needs 3"}},
    {"SETITEMS with half a pair", with("}(NNNu").stop(), {"a key without a value"}},
    {"SETITEMS on None", with("N(NNu").stop(), {"opcode SETITEMS on something else than a dict"}},
    {"REDUCE on nothing", with("R").stop(), {"opcode REDUCE needs 2"}},
    {"REDUCE on a text", pickle().text("os.system").op(")R").stop(), {"REDUCE on something else than a global"}},
    {"REDUCE on the result of a call", pickle().global("some.module", "function").op(")R)R").stop(), {"REDUCE on something else"}},
    {"REDUCE without a tuple", pickle().global("some.module", "function").op("]R").stop(), {"without a tuple"}},
    {"REDUCE on a kind", pickle().global("some.module", "Kind").op(")R").stop(), {"some.module.Kind", "no function"}},
    {"an OrderedDict of arguments",
     pickle().global("collections", "OrderedDict").op("(]tR").stop(),
     {"collections.OrderedDict with arguments"}},
    {"BUILD on nothing", with("b").stop(), {"opcode BUILD needs 2"}},
    {"BUILD on a plain dict", with("}}").text("_metadata").op("Nsb").stop(), {"BUILD is only served", "nothing was executed"}},
    {"BUILD with another state", pickle().ordered_dict().op("}").text("__class__").op("Nsb").stop(), {"BUILD is only served"}},
    {"BUILD with more state",
     pickle().ordered_dict().op("}").text("_metadata").op("Ns").text("x").op("Nsb").stop(),
     {"BUILD is only served"}},
    {"BUILD with a tuple", pickle().ordered_dict().op(")b").stop(), {"BUILD is only served"}},
    {"BUILD on a call", pickle().global("some.module", "function").op(")R}b").stop(), {"BUILD is only served"}},
    {"BINPERSID on nothing", with("Q").stop(), {"opcode BINPERSID needs 1"}},
};

}  // namespace

TEST_CASE("plain values of all kinds are read as they are") {
  const std::string bytes = with("(K\x07M\x01\x02J\xfe\xff\xff\xff")
                                .number(std::int64_t{-5} << 40)
                                .op(std::string("\x8a\0\x8a\x01\x80", 5))
                                .op(std::string("G\x3f\xf8\0\0\0\0\0\0", 9))
                                .text("word")
                                .op("\x8c\x02hi\x88\x89NC\x01z]K\x01"
                                    "a(K\x02K\x03"
                                    "e)t")
                                .stop();
  const Pickle p = read(bytes);
  REQUIRE(p.root().kind == PickleKind::tuple);
  const auto items = p.children(p.root());
  REQUIRE(items.size() == 15);
  const std::int64_t numbers[] = {7, 513, -2, std::int64_t{-5} << 40, 0, -128};
  for (std::size_t i = 0; i < std::size(numbers); i++) CHECK(p[items[i]].number == numbers[i]);
  CHECK(p.real(p[items[6]]) == 1.5);
  CHECK(p.text(p[items[7]]) == "word");
  CHECK(p.text(p[items[8]]) == "hi");
  CHECK(p[items[9]].kind == PickleKind::boolean);
  CHECK(p[items[9]].number == 1);
  CHECK(p[items[10]].number == 0);
  CHECK(p[items[11]].kind == PickleKind::none);
  CHECK(p[items[12]].kind == PickleKind::bytes);
  REQUIRE(p.children(p[items[13]]).size() == 3);
  CHECK(p[p.children(p[items[13]])[2]].number == 3);
  CHECK(p.children(p[items[14]]).empty());
}

TEST_CASE("dicts, memo, calls and persistent ids are kept, and nothing is called") {
  const std::string bytes = pickle()
                                .ordered_dict()
                                .op("q\x05(")
                                .text("a")
                                .op(std::string("q\x06", 2))
                                .global("some.module", "function")
                                .op("h\x06\x85R")
                                .text("b")
                                .op("h\x06Q")
                                .op("u}")
                                .text("_metadata")
                                .op("h\x05sb")
                                .stop();
  const Pickle p = read(bytes);
  REQUIRE(p.root().kind == PickleKind::dict);
  CHECK(p.root().ordered);
  const auto items = p.children(p.root());
  REQUIRE(items.size() == 4);
  const PickleValue& call = p[items[1]];
  REQUIRE(call.kind == PickleKind::call);
  CHECK(p[p.children(call)[0]].number == 1);
  CHECK(p.text(p[p.children(p[p.children(call)[1]])[0]]) == "a");
  REQUIRE(p[items[3]].kind == PickleKind::persistent);
  CHECK(p.text(p[p.children(p[items[3]])[0]]) == "a");
}

TEST_CASE("protocols 4 and 5: frames, MEMOIZE and STACK_GLOBAL") {
  for (const char* protocol : {"\x80\x04", "\x80\x05"}) {
    const std::string body = std::string(
        "}\x94\x8c\x03key\x94\x8c\x0bsome.module\x94\x8c\x08"
        "function\x94\x93\x94h\x01\x85\x94R\x94s.");
    const std::string bytes = protocol + ("\x95" + raw_bytes(std::uint64_t{body.size()}) + body);
    const Pickle p = read(bytes);
    const auto items = p.children(p.root());
    REQUIRE(items.size() == 2);
    CHECK(p.text(p[items[0]]) == "key");
    CHECK(p.text(p[p.children(p[p.children(p[items[1]])[1]])[0]]) == "key");
  }
}

TEST_CASE("a memo bomb stays as small as it is written, and a list that holds itself is only a reference") {
  // Each list holds the one before ten times: 10^20 leaves for whoever unfolds it.
  PickleBytes p = with("(]K\1aq" + std::string(1, '\1'));
  for (char level = 2; level < 22; level++)
    p.op("](" + repeated(std::string("h") + static_cast<char>(level - 1), 10) + "eq" + std::string(1, level));
  const Pickle bomb = read(p.op("t").stop());
  CHECK(bomb.size() < 100);
  const Pickle self = read(with("]q" + std::string(1, '\1') + "h\1a").stop());
  CHECK(self.children(self.root()).size() == 1);
}

TEST_CASE("a bad pickle is refused with offset, opcode or global, and nothing of it runs") {
  for (const BadPickle& bad : kBadPickles) {
    CAPTURE(bad.name);
    leafcutter::test::expect_error([&] { read(bad.bytes); }, {"model.pt, entry a/data.pkl, offset "});
    for (const std::string& part : bad.parts) leafcutter::test::expect_error([&] { read(bad.bytes); }, {part});
  }
}

TEST_CASE("every cut of a pickle is refused") {
  const std::string good =
      compress::test::PickleBytes().ordered_dict().op("(").text("a").number(7).text("b").op("](NNeu}").text("_metadata").op("Nsb").stop();
  CHECK(read(good).root().kind == PickleKind::dict);
  for (std::size_t n = 0; n < good.size(); n++) CHECK_THROWS_AS(read(good.substr(0, n)), Error);
}
