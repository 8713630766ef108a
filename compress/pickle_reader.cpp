#include "compress/pickle_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

enum Opcode : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kBinint = 'J',
  kBinint1 = 'K',
  kBinint2 = 'M',
  kNone = 'N',
  kBinpersid = 'Q',
  kReduce = 'R',
  kBinunicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kEmptyDict = '}',
  kAppends = 'e',
  kBinget = 'h',
  kLongBinget = 'j',
  kEmptyList = ']',
  kBinput = 'q',
  kLongBinput = 'r',
  kSetitem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetitems = 'u',
  kBinfloat = 'G',
  kBinbytes = 'B',
  kShortBinbytes = 'C',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewtrue = 0x88,
  kNewfalse = 0x89,
  kLong1 = 0x8a,
  kShortBinunicode = 0x8c,
  kBinunicode8 = 0x8d,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

struct OpcodeName {
  std::uint8_t code;
  const char* name;
};

// All of them, so that messages can say what was refused.
constexpr OpcodeName kKnown[] = {{'(', "MARK"},
                                 {'.', "STOP"},
                                 {'0', "POP"},
                                 {'1', "POP_MARK"},
                                 {'2', "DUP"},
                                 {'F', "FLOAT"},
                                 {'I', "INT"},
                                 {'J', "BININT"},
                                 {'K', "BININT1"},
                                 {'L', "LONG"},
                                 {'M', "BININT2"},
                                 {'N', "NONE"},
                                 {'P', "PERSID"},
                                 {'Q', "BINPERSID"},
                                 {'R', "REDUCE"},
                                 {'S', "STRING"},
                                 {'T', "BINSTRING"},
                                 {'U', "SHORT_BINSTRING"},
                                 {'V', "UNICODE"},
                                 {'X', "BINUNICODE"},
                                 {'a', "APPEND"},
                                 {'b', "BUILD"},
                                 {'c', "GLOBAL"},
                                 {'d', "DICT"},
                                 {'}', "EMPTY_DICT"},
                                 {'e', "APPENDS"},
                                 {'g', "GET"},
                                 {'h', "BINGET"},
                                 {'i', "INST"},
                                 {'j', "LONG_BINGET"},
                                 {'l', "LIST"},
                                 {']', "EMPTY_LIST"},
                                 {'o', "OBJ"},
                                 {'p', "PUT"},
                                 {'q', "BINPUT"},
                                 {'r', "LONG_BINPUT"},
                                 {'s', "SETITEM"},
                                 {'t', "TUPLE"},
                                 {')', "EMPTY_TUPLE"},
                                 {'u', "SETITEMS"},
                                 {'G', "BINFLOAT"},
                                 {'B', "BINBYTES"},
                                 {'C', "SHORT_BINBYTES"},
                                 {0x80, "PROTO"},
                                 {0x81, "NEWOBJ"},
                                 {0x82, "EXT1"},
                                 {0x83, "EXT2"},
                                 {0x84, "EXT4"},
                                 {0x85, "TUPLE1"},
                                 {0x86, "TUPLE2"},
                                 {0x87, "TUPLE3"},
                                 {0x88, "NEWTRUE"},
                                 {0x89, "NEWFALSE"},
                                 {0x8a, "LONG1"},
                                 {0x8b, "LONG4"},
                                 {0x8c, "SHORT_BINUNICODE"},
                                 {0x8d, "BINUNICODE8"},
                                 {0x8e, "BINBYTES8"},
                                 {0x8f, "EMPTY_SET"},
                                 {0x90, "ADDITEMS"},
                                 {0x91, "FROZENSET"},
                                 {0x92, "NEWOBJ_EX"},
                                 {0x93, "STACK_GLOBAL"},
                                 {0x94, "MEMOIZE"},
                                 {0x95, "FRAME"},
                                 {0x96, "BYTEARRAY8"},
                                 {0x97, "NEXT_BUFFER"},
                                 {0x98, "READONLY_BUFFER"}};

std::string opcode_name(std::uint8_t code) {
  for (const OpcodeName& known : kKnown)
    if (known.code == code) return known.name;
  return std::to_string(code);
}

}  // namespace

class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals, const std::string& where)
      : globals_(globals), where_(where) {
    pickle_.bytes_ = bytes;
  }

  Pickle read() {
    if (pickle_.bytes_.size() > PickleLimits::kBytes)
      refuse("has " + std::to_string(pickle_.bytes_.size()) + " bytes; at most " + std::to_string(PickleLimits::kBytes) + " are read");
    if (number<std::uint8_t>() != kProto) refuse("does not begin with PROTO");
    if (const auto protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5)
      throw Error(ErrorKind::unsupported, place(), "pickle protocol " + std::to_string(protocol) + " is not served", "2 to 5 are");
    while (step()) {}
    if (stack_.size() != 1 || !marks_.empty()) refuse("STOP with " + std::to_string(stack_.size()) + " values left");
    if (at_ != pickle_.bytes_.size()) refuse(std::to_string(pickle_.bytes_.size() - at_) + " bytes behind STOP");
    pickle_.root_ = stack_[0];
    return std::move(pickle_);
  }

 private:
  std::string place() const { return where_ + ", offset " + std::to_string(opcode_at_); }

  [[noreturn]] void refuse(const std::string& problem) const {
    throw Error(ErrorKind::bad_file, place(), problem, "the file is damaged or no torch checkpoint");
  }

  std::span<const std::byte> take(std::uint64_t n) {
    if (n > pickle_.bytes_.size() - at_)
      refuse("needs " + std::to_string(n) + " bytes, " + std::to_string(pickle_.bytes_.size() - at_) + " are left");
    const auto part = pickle_.bytes_.subspan(at_, n);
    at_ += n;
    return part;
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  // --- values

  std::uint32_t add(PickleKind kind, PickleValue value = {}) {
    if (pickle_.values_.size() == PickleLimits::kValues) refuse("more than " + std::to_string(PickleLimits::kValues) + " values");
    value.kind = kind;
    value.at = static_cast<std::uint32_t>(opcode_at_);
    pickle_.values_.push_back(value);
    return static_cast<std::uint32_t>(pickle_.values_.size() - 1);
  }

  void push(PickleKind kind, PickleValue value = {}) { stack_.push_back(add(kind, value)); }

  void push_bytes(PickleKind kind, std::uint64_t bytes) {
    PickleValue value;
    value.begin = static_cast<std::uint32_t>(at_);
    value.size = static_cast<std::uint32_t>(take(bytes).size());
    push(kind, value);
  }

  void push_integer(std::int64_t number) {
    PickleValue value;
    value.number = number;
    push(PickleKind::integer, value);
  }

  void push_container(PickleKind kind, bool ordered) {
    PickleValue value;
    value.begin = static_cast<std::uint32_t>(pickle_.containers_.size());
    value.ordered = ordered;
    push(kind, value);
    pickle_.containers_.emplace_back();
  }

  // Replaces the values of the stack from `first` on by one that has them as children.
  void gather(PickleKind kind, std::size_t first) {
    PickleValue value;
    value.begin = static_cast<std::uint32_t>(pickle_.fixed_.size());
    value.size = static_cast<std::uint32_t>(stack_.size() - first);
    for (std::size_t i = first; i < stack_.size(); i++) {
      value.depth = deeper(value.depth, stack_[i]);
      pickle_.fixed_.push_back(stack_[i]);
    }
    stack_.resize(first);
    push(kind, value);
  }

  std::uint8_t deeper(std::uint8_t depth, std::uint32_t child) const {
    const int most = std::max<int>(depth, pickle_.values_[child].depth + 1);
    if (most > static_cast<int>(PickleLimits::kDepth)) refuse("values nested deeper than " + std::to_string(PickleLimits::kDepth));
    return static_cast<std::uint8_t>(most);
  }

  // --- stack: what lies below the last mark belongs to somebody else

  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  void need(std::size_t count) const {
    if (stack_.size() - floor() < count)
      refuse("opcode " + opcode_name(opcode_) + " needs " + std::to_string(count) + " values, " + std::to_string(stack_.size() - floor()) +
             " are there");
  }

  std::uint32_t pop() {
    need(1);
    const std::uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }

  std::size_t pop_mark() {
    if (marks_.empty()) refuse("opcode " + opcode_name(opcode_) + " without a MARK");
    const std::size_t first = marks_.back();
    marks_.pop_back();
    return first;
  }

  PickleValue& container(std::uint32_t index, PickleKind kind) {
    PickleValue& value = pickle_.values_[index];
    if (value.kind != kind)
      refuse("opcode " + opcode_name(opcode_) + " on something else than a " + (kind == PickleKind::list ? "list" : "dict"));
    return value;
  }

  // Moves the values of the stack from `first` on into the container below them.
  void put(PickleKind kind, std::size_t first) {
    if (first < floor() + 1 || first > stack_.size()) refuse("opcode " + opcode_name(opcode_) + " without something to put into");
    PickleValue& into = container(stack_[first - 1], kind);
    if (kind == PickleKind::dict && (stack_.size() - first) % 2 != 0)
      refuse("opcode " + opcode_name(opcode_) + " with a key without a value");
    std::vector<std::uint32_t>& items = pickle_.containers_[into.begin];
    for (std::size_t i = first; i < stack_.size(); i++) {
      into.depth = deeper(into.depth, stack_[i]);
      items.push_back(stack_[i]);
    }
    stack_.resize(first);
  }

  // --- memo

  void remember(std::uint64_t index) {
    need(1);
    if (index >= PickleLimits::kValues)
      refuse("memo " + std::to_string(index) + "; at most " + std::to_string(PickleLimits::kValues) + " are kept");
    if (index >= memo_.size()) memo_.resize(index + 1, kNothing);
    if (memo_[index] == kNothing) remembered_++;
    memo_[index] = stack_.back();
  }

  void recall(std::uint64_t index) {
    if (index >= memo_.size() || memo_[index] == kNothing) refuse("memo " + std::to_string(index) + " was never put");
    stack_.push_back(memo_[index]);
  }

  // --- names

  std::string_view line() {
    const auto rest = pickle_.bytes_.subspan(at_, std::min(PickleLimits::kGlobalBytes + 1, pickle_.bytes_.size() - at_));
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    if (end == rest.end()) refuse("a global's name does not end within " + std::to_string(PickleLimits::kGlobalBytes) + " bytes");
    const auto part = take(static_cast<std::size_t>(end - rest.begin()) + 1);
    return {reinterpret_cast<const char*>(part.data()), part.size() - 1};
  }

  void push_global(std::string_view module, std::string_view name) {
    const auto known =
        std::find_if(globals_.begin(), globals_.end(), [&](const PickleGlobal& g) { return g.module == module && g.name == name; });
    if (known == globals_.end())
      throw Error(ErrorKind::unsupported, place(),
                  "global " + printable_text(module, 128) + "." + printable_text(name, 128) + " is not served; nothing was executed",
                  "save a plain state dict: torch.save(model.state_dict(), FILE)");
    PickleValue value;
    value.number = known - globals_.begin();
    push(PickleKind::global, value);
  }

  void stack_global() {
    need(2);
    const PickleValue &name = pickle_.values_[pop()], &module = pickle_.values_[pop()];
    if (name.kind != PickleKind::text || module.kind != PickleKind::text) refuse("opcode STACK_GLOBAL without two texts");
    push_global(pickle_.text(module), pickle_.text(name));
  }

  void reduce() {
    need(2);
    const PickleValue &function = pickle_.values_[stack_[stack_.size() - 2]], &arguments = pickle_.values_[stack_.back()];
    if (function.kind != PickleKind::global) refuse("opcode REDUCE on something else than a global");
    if (arguments.kind != PickleKind::tuple) refuse("opcode REDUCE without a tuple of arguments");
    const PickleGlobal& global = globals_[static_cast<std::size_t>(function.number)];
    const std::string name = std::string(global.module) + "." + std::string(global.name);
    if (global.use == PickleGlobal::Use::value) refuse("opcode REDUCE on global " + name + ", which is no function");
    if (global.use == PickleGlobal::Use::call) return gather(PickleKind::call, stack_.size() - 2);
    if (arguments.size != 0) refuse("opcode REDUCE on global " + name + " with arguments");
    stack_.resize(stack_.size() - 2);
    push_container(PickleKind::dict, true);
  }

  // The one state that an ordered dict brings along: versions of modules, which nobody here needs.
  void build() {
    need(2);
    const PickleValue& state = pickle_.values_[pop()];
    const PickleValue& target = pickle_.values_[stack_.back()];
    const bool ordered = target.kind == PickleKind::dict && target.ordered;
    const auto items = state.kind == PickleKind::dict ? pickle_.children(state) : std::span<const std::uint32_t>();
    const bool metadata =
        items.size() == 2 && pickle_.values_[items[0]].kind == PickleKind::text && pickle_.text(pickle_.values_[items[0]]) == "_metadata";
    if (!ordered || !metadata)
      throw Error(ErrorKind::unsupported, place(), "opcode BUILD is only served for the _metadata of an OrderedDict; nothing was executed",
                  "save a plain state dict: torch.save(model.state_dict(), FILE)");
  }

  void push_long(std::size_t bytes) {
    if (bytes > 8) refuse("a number of " + std::to_string(bytes) + " bytes; at most 8 are served");
    const auto part = take(bytes);
    const bool negative = bytes > 0 && (part[bytes - 1] & std::byte{0x80}) != std::byte{0};
    std::int64_t value = negative ? -1 : 0;
    if (bytes > 0) std::memcpy(&value, part.data(), bytes);
    push_integer(value);
  }

  void push_real() {
    PickleValue value;
    value.number = std::bit_cast<std::int64_t>(__builtin_bswap64(number<std::uint64_t>()));
    push(PickleKind::real, value);
  }

  void push_boolean(bool flag) {
    PickleValue value;
    value.number = flag;
    push(PickleKind::boolean, value);
  }

  void mark() {
    if (marks_.size() == PickleLimits::kDepth) refuse("marks nested deeper than " + std::to_string(PickleLimits::kDepth));
    marks_.push_back(stack_.size());
  }

  void gather_top(std::size_t count) {
    need(count);
    gather(PickleKind::tuple, stack_.size() - count);
  }

  // One opcode; gives false at STOP.
  bool step() {
    opcode_at_ = at_;
    if (at_ == pickle_.bytes_.size()) refuse("ends without STOP");
    opcode_ = number<std::uint8_t>();
    switch (opcode_) {
      case kStop:
        return false;
      case kFrame:
        if (const auto bytes = number<std::uint64_t>(); bytes > pickle_.bytes_.size() - at_)
          refuse("a FRAME of " + std::to_string(bytes) + " bytes, " + std::to_string(pickle_.bytes_.size() - at_) + " are left");
        break;
      case kNone:
        push(PickleKind::none);
        break;
      case kNewtrue:
      case kNewfalse:
        push_boolean(opcode_ == kNewtrue);
        break;
      case kBinint:
        push_integer(number<std::int32_t>());
        break;
      case kBinint1:
        push_integer(number<std::uint8_t>());
        break;
      case kBinint2:
        push_integer(number<std::uint16_t>());
        break;
      case kLong1:
        push_long(number<std::uint8_t>());
        break;
      case kBinfloat:
        push_real();
        break;
      case kShortBinunicode:
        push_bytes(PickleKind::text, number<std::uint8_t>());
        break;
      case kBinunicode:
        push_bytes(PickleKind::text, number<std::uint32_t>());
        break;
      case kBinunicode8:
        push_bytes(PickleKind::text, number<std::uint64_t>());
        break;
      case kShortBinbytes:
        push_bytes(PickleKind::bytes, number<std::uint8_t>());
        break;
      case kBinbytes:
        push_bytes(PickleKind::bytes, number<std::uint32_t>());
        break;
      case kMark:
        mark();
        break;
      case kEmptyTuple:
        gather_top(0);
        break;
      case kTuple1:
        gather_top(1);
        break;
      case kTuple2:
        gather_top(2);
        break;
      case kTuple3:
        gather_top(3);
        break;
      case kTuple:
        gather(PickleKind::tuple, pop_mark());
        break;
      case kEmptyList:
        push_container(PickleKind::list, false);
        break;
      case kEmptyDict:
        push_container(PickleKind::dict, false);
        break;
      case kAppend:
        need(2);
        put(PickleKind::list, stack_.size() - 1);
        break;
      case kSetitem:
        need(3);
        put(PickleKind::dict, stack_.size() - 2);
        break;
      case kAppends:
        put(PickleKind::list, pop_mark());
        break;
      case kSetitems:
        put(PickleKind::dict, pop_mark());
        break;
      case kBinput:
        remember(number<std::uint8_t>());
        break;
      case kLongBinput:
        remember(number<std::uint32_t>());
        break;
      case kMemoize:
        remember(remembered_);
        break;
      case kBinget:
        recall(number<std::uint8_t>());
        break;
      case kLongBinget:
        recall(number<std::uint32_t>());
        break;
      case kGlobal: {
        const std::string_view module = line();
        push_global(module, line());
        break;
      }
      case kStackGlobal:
        stack_global();
        break;
      case kBinpersid:
        need(1);
        gather(PickleKind::persistent, stack_.size() - 1);
        break;
      case kReduce:
        reduce();
        break;
      case kBuild:
        build();
        break;
      default:
        throw Error(ErrorKind::unsupported, place(), "opcode " + opcode_name(opcode_) + " is not served; nothing was executed",
                    "save a plain state dict: torch.save(model.state_dict(), FILE)");
    }
    return true;
  }

  static constexpr std::uint32_t kNothing = ~0u;

  std::span<const PickleGlobal> globals_;
  const std::string& where_;
  Pickle pickle_;
  std::vector<std::uint32_t> stack_;
  std::vector<std::size_t> marks_;
  std::vector<std::uint32_t> memo_;
  std::uint64_t remembered_ = 0;  // how many places of the memo are taken: what MEMOIZE numbers by
  std::size_t at_ = 0, opcode_at_ = 0;
  std::uint8_t opcode_ = 0;
};

std::string_view Pickle::text(const PickleValue& value) const {
  return {reinterpret_cast<const char*>(bytes_.data()) + value.begin, value.size};
}

std::span<const std::uint32_t> Pickle::children(const PickleValue& value) const {
  if (value.kind == PickleKind::list || value.kind == PickleKind::dict) return containers_[value.begin];
  return std::span(fixed_).subspan(value.begin, value.size);
}

double Pickle::real(const PickleValue& value) const { return std::bit_cast<double>(value.number); }

Pickle read_pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals, const std::string& where) {
  return PickleReader(bytes, globals, where).read();
}

}  // namespace leafcutter::compress
