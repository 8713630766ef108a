#include "tests/support/ptx/parser.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <set>

#include "tests/support/ptx/control_flow.h"
#include "tests/support/ptx/lexer.h"
#include "tests/support/ptx/operations.h"

namespace leafcutter::ptx {
namespace {

constexpr std::size_t kMostRegisters = 1 << 20, kMostBytes = std::size_t{1} << 30;

std::uint64_t round_up_to(std::uint64_t value, std::uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

// `.param .align 8 .b8 name[64]` and its kin.
struct Declaration {
  int line = 0;
  std::string name;
  Type type = Type::b8;
  std::uint64_t alignment = 1, bytes = 0;
  bool unsized = false;  // name[]
};

class Parser {
 public:
  explicit Parser(std::string_view text) : tokens_(tokens_of(text)) {}

  Module parse() {
    while (peek().kind != Token::Kind::end) top_level();
    if (module_.version.empty() || module_.target.empty()) fail("the text has no .version and .target");
    return std::move(module_);
  }

 private:
  // --- tokens
  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) at_++;
    return token;
  }
  bool take(std::string_view what) {
    if (!peek().is(what)) return false;
    take();
    return true;
  }
  void expect(std::string_view what) {
    if (!take(what)) fail("'" + std::string(what) + "' is missing before '" + peek().text + "'");
  }
  std::string expect_word() {
    if (peek().kind != Token::Kind::word) fail("a name is missing before '" + peek().text + "'");
    return take().text;
  }
  [[noreturn]] void fail(const std::string& problem) const { throw Error(peek().line, current_, problem); }

  std::uint64_t expect_number() {
    const bool negative = take("-");
    if (peek().kind != Token::Kind::number) fail("a number is missing before '" + peek().text + "'");
    const std::uint64_t value = number_of(peek().text);
    take();
    return negative ? std::uint64_t{0} - value : value;
  }

  // 12, 0x1F, 0f3F800000 and 0d3FF0000000000000: the bits.
  std::uint64_t number_of(std::string text) const {
    int base = 10;
    std::size_t skip = 0;
    const bool prefixed = text.size() > 2 && text[0] == '0';
    if (prefixed && (text[1] == 'x' || text[1] == 'X')) base = 16, skip = 2;
    if (prefixed && (text[1] == 'f' || text[1] == 'F') && text.size() == 10) base = 16, skip = 2;
    if (prefixed && (text[1] == 'd' || text[1] == 'D') && text.size() == 18) base = 16, skip = 2;
    if (base == 10 && text.back() == 'U') text.pop_back();
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto result = std::from_chars(text.data() + skip, end, value, base);
    if (result.ec != std::errc{} || result.ptr != end) fail("'" + text + "' is no number");
    return value;
  }

  // --- the module
  void top_level() {
    current_ = peek().text;
    if (take(".version")) {
      module_.version = take().text;
    } else if (take(".target")) {
      do module_.target = expect_word();
      while (take(","));
    } else if (take(".address_size")) {
      module_.address_size = static_cast<unsigned>(expect_number());
      if (module_.address_size != 64) fail("only addresses of 64 bits are known");
    } else if (peek().is(".visible") || peek().is(".weak") || peek().is(".extern")) {
      take();
    } else if (take(".entry")) {
      entry();
    } else if (peek().is(".shared") || peek().is(".const") || peek().is(".global")) {
      module_variable();
    } else {
      fail("the directive is not known");
    }
  }

  Declaration declaration() {
    Declaration d;
    d.line = peek().line;
    if (take(".align")) d.alignment = expect_number();
    if (d.alignment == 0 || d.alignment > 4096 || !std::has_single_bit(d.alignment)) fail("no alignment");
    const std::string type = expect_word();
    const std::optional<Type> known = type_named(std::string_view(type).substr(1));
    if (!known || *known == Type::pred) fail("'" + type + "' is no type of variables");
    d.type = *known;
    d.alignment = std::max<std::uint64_t>(d.alignment, bytes_of(d.type));
    while (peek().is(".ptr") || peek().is(".align") || peek().is(".global")) {  // hints about a pointer parameter
      if (take().is(".align")) expect_number();
    }
    d.name = expect_word();
    d.bytes = bytes_of(d.type);
    while (take("[")) {
      if (take("]")) {
        d.unsized = true;
        break;
      }
      const std::uint64_t count = expect_number();
      expect("]");
      if (count == 0 || count > kMostBytes / d.bytes) fail("'" + d.name + "' has no possible size");
      d.bytes *= count;
    }
    return d;
  }

  void module_variable() {
    const std::string space = take().text;
    const Declaration d = declaration();
    if (space == ".shared") {
      expect(";");
      if (!module_shared_.emplace(d.name, d).second) fail("'" + d.name + "' is declared twice");
      return;
    }
    if (d.unsized) fail("'" + d.name + "' has no size");
    auto variable = std::make_unique<Variable>();
    variable->name = d.name;
    variable->bytes = d.bytes;
    variable->constant = space == ".const";
    variable->storage.resize((d.bytes + 7) / 8);
    if (take("=")) initialise(d, *variable);
    expect(";");
    if (!module_symbols_.emplace(d.name, reinterpret_cast<std::uint64_t>(variable->storage.data())).second)
      fail("'" + d.name + "' is declared twice");
    module_.variables.push_back(std::move(variable));
  }

  void initialise(const Declaration& d, Variable& variable) {
    auto* bytes = reinterpret_cast<unsigned char*>(variable.storage.data());
    const unsigned width = bytes_of(d.type);
    const bool braces = take("{");
    std::uint64_t at = 0;
    do {
      const std::uint64_t value = expect_number();
      if (at + width > d.bytes) fail("'" + d.name + "' has more values than room");
      for (unsigned i = 0; i < width; i++) bytes[at + i] = static_cast<unsigned char>(value >> 8 * i);
      at += width;
    } while (braces && take(","));
    if (braces) expect("}");
  }

  // --- a kernel
  void entry() {
    kernel_ = Kernel{};
    registers_.assign(1, {});
    symbols_.clear();
    constants_.clear();
    specials_.clear();
    labels_.clear();
    jumps_.clear();
    kernel_.name = current_ = expect_word();
    expect("(");
    if (!take(")")) {
      do {
        expect(".param");
        const Declaration d = declaration();
        kernel_.parameter_bytes = round_up_to(kernel_.parameter_bytes, d.alignment);
        declare_symbol(d.name, kernel_.parameter_bytes);
        kernel_.parameter_bytes += d.bytes;
      } while (take(","));
      expect(")");
    }
    while (!peek().is("{")) kernel_directive();
    expect("{");
    while (true) {
      if (take("{")) {
        registers_.emplace_back();
      } else if (take("}")) {
        registers_.pop_back();
        if (registers_.empty()) break;
      } else {
        statement();
      }
    }
    finish_kernel();
  }

  void kernel_directive() {
    current_ = peek().text;
    if (take(".maxntid") || take(".reqntid")) {
      kernel_.most_threads = expect_number();
      while (take(",")) kernel_.most_threads *= expect_number();
    } else if (take(".minnctapersm") || take(".maxnreg")) {
      expect_number();
    } else {
      fail("the directive is not known");
    }
  }

  void finish_kernel() {
    for (const auto& [instruction, label, line] : jumps_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) throw Error(line, "bra", "there is no label '" + label + "'");
      kernel_.code[instruction].target = found->second;
    }
    Instruction end;  // what runs off the end is done
    end.opcode = "ret";
    end.kind = Kind::exit;
    end.issue_slots = end.unit_slots = 0;
    kernel_.code.push_back(end);
    find_meetings(kernel_.code);
    kernel_.shared_bytes = round_up_to(kernel_.shared_bytes, 16);
    if (!module_.kernels.emplace(kernel_.name, kernel_).second) fail("the kernel is there twice");
  }

  void declare_symbol(const std::string& name, std::uint64_t address) {
    SlotInfo slot;
    slot.kind = SlotInfo::Kind::constant;
    slot.type = Type::u64;
    slot.value = address;
    if (!symbols_.emplace(name, add_slot(slot)).second) fail("'" + name + "' is declared twice");
  }

  Slot add_slot(const SlotInfo& slot) {
    if (kernel_.slots.size() >= kMostRegisters) fail("too many registers");
    kernel_.slots.push_back(slot);
    return static_cast<Slot>(kernel_.slots.size() - 1);
  }

  void statement() {
    current_ = peek().text;
    if (peek().kind == Token::Kind::word && peek(1).is(":")) {
      const std::string label = take().text;
      take();
      if (!labels_.emplace(label, kernel_.code.size()).second) fail("the label is there twice");
    } else if (take(".reg")) {
      registers();
    } else if (take(".shared")) {
      const Declaration d = declaration();
      expect(";");
      place_shared(d);
    } else if (take(".local")) {
      const Declaration d = declaration();
      expect(";");
      kernel_.local_bytes = round_up_to(kernel_.local_bytes, d.alignment);
      declare_symbol(d.name, kernel_.local_bytes);
      kernel_.local_bytes += d.bytes;
    } else if (take(".pragma")) {
      take();
      expect(";");
    } else if (take(".loc")) {
      for (int i = 0; i < 3; i++) expect_number();
    } else if (peek().text.starts_with('.')) {
      fail("the directive is not known");
    } else {
      instruction();
    }
  }

  void place_shared(const Declaration& d) {
    if (d.unsized) fail("'" + d.name + "' has no size");
    kernel_.shared_bytes = round_up_to(kernel_.shared_bytes, d.alignment);
    declare_symbol(d.name, kernel_.shared_bytes);
    kernel_.shared_bytes += d.bytes;
  }

  // `.reg .b32 %r<6>;` and `.reg .b32 a, b;`
  void registers() {
    const std::string name = expect_word();
    const std::optional<Type> type = type_named(std::string_view(name).substr(1));
    if (!type) fail("'" + name + "' is no type");
    SlotInfo slot;
    slot.type = *type;
    const auto declare = [&](const std::string& reg) {
      if (!registers_.back().emplace(reg, add_slot(slot)).second) fail("register '" + reg + "' is declared twice");
    };
    do {
      const std::string reg = expect_word();
      if (take("<")) {
        const std::uint64_t count = expect_number();
        if (count > kMostRegisters) fail("too many registers");
        expect(">");
        for (std::uint64_t i = 0; i < count; i++) declare(reg + std::to_string(i));
      } else {
        declare(reg);
      }
    } while (take(","));
    expect(";");
  }

  // --- operands
  Slot constant(std::uint64_t value) {
    const auto found = constants_.find(value);
    if (found != constants_.end()) return found->second;
    SlotInfo slot;
    slot.kind = SlotInfo::Kind::constant;
    slot.type = Type::b64;
    slot.value = value;
    return constants_[value] = add_slot(slot);
  }

  std::optional<Slot> special(const std::string& name) {
    static constexpr std::string_view kThree[] = {"%tid", "%ntid", "%ctaid", "%nctaid"};
    SlotInfo slot;
    slot.kind = SlotInfo::Kind::special;
    slot.type = Type::u32;
    bool known = name == "%laneid" || name == "%warpid";
    slot.special = name == "%laneid" ? Special::laneid : Special::warpid;
    for (std::size_t i = 0; i < std::size(kThree); i++)
      for (unsigned d = 0; d < 3; d++)
        if (name == std::string(kThree[i]) + "." + "xyz"[d]) {
          known = true;
          slot.special = static_cast<Special>(i);
          slot.dimension = d;
        }
    if (!known) return {};
    const auto found = specials_.find(name);
    if (found != specials_.end()) return found->second;
    return specials_[name] = add_slot(slot);
  }

  std::optional<Slot> reg(const std::string& name) const {
    for (auto scope = registers_.rbegin(); scope != registers_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return found->second;
    }
    return {};
  }

  std::optional<Slot> symbol(const std::string& name) {
    const auto found = symbols_.find(name);
    if (found != symbols_.end()) return found->second;
    const auto shared = module_shared_.find(name);
    if (shared != module_shared_.end()) {
      if (!shared->second.unsized) {
        place_shared(shared->second);
        return symbols_.at(name);
      }
      SlotInfo slot;
      slot.kind = SlotInfo::Kind::dynamic_shared;
      slot.type = Type::u64;
      return symbols_[name] = add_slot(slot);
    }
    const auto variable = module_symbols_.find(name);
    if (variable == module_symbols_.end()) return {};
    declare_symbol(name, variable->second);
    return symbols_.at(name);
  }

  // A register, special register, number or address.
  Slot operand() {
    if (peek().kind == Token::Kind::number || peek().is("-")) return constant(expect_number());
    const std::string name = expect_word();
    if (const auto slot = reg(name)) return *slot;
    if (const auto slot = special(name)) return *slot;
    if (const auto slot = symbol(name)) return *slot;
    fail("'" + name + "' is neither a register nor a variable");
  }

  Slot typed(Slot slot, Type type, bool wider_allowed) const {
    const SlotInfo& info = kernel_.slots[slot];
    if (info.kind == SlotInfo::Kind::constant || info.kind == SlotInfo::Kind::dynamic_shared) return slot;
    const unsigned have = bytes_of(info.type), want = bytes_of(type);
    if ((info.type == Type::pred) != (type == Type::pred)) fail("a predicate where there may be none, or none where there must be one");
    if (have != want && !(wider_allowed && have > want))
      fail("the register has " + std::to_string(8 * have) + " bits, the type " + std::to_string(8 * want));
    if (!wider_allowed && !is_bits(info.type) && !is_bits(type) && is_float(info.type) != is_float(type))
      fail("a register of floats in an operation of integers, or the other way round");
    return slot;
  }

  Slot destination() {
    const std::string name = expect_word();
    const auto slot = reg(name);
    if (!slot) fail("'" + name + "' is no register");
    return *slot;
  }

  std::vector<Slot> list(Slot (Parser::*one)()) {
    std::vector<Slot> slots;
    if (take("{")) {
      do slots.push_back((this->*one)());
      while (take(","));
      expect("}");
    } else {
      slots.push_back((this->*one)());
    }
    return slots;
  }

  // --- instructions
  void instruction() {
    Instruction i;
    i.line = peek().line;
    if (take("@")) {
      i.predicate_negated = take("!");
      i.predicate = typed(destination(), Type::pred, false);
    }
    i.opcode = current_ = expect_word();
    Modifiers m(i.opcode, i.line);
    const std::string& name = m.name();
    if (name == "ld" || name == "ldu") {
      load(i, m);
    } else if (name == "st") {
      store(i, m);
    } else if (name == "atom" || name == "red") {
      atomic(i, m, name == "atom");
    } else if (name == "bra") {
      m.take("uni");
      i.kind = Kind::branch;
      jumps_.push_back({kernel_.code.size(), expect_word(), i.line});
      m.finish();
    } else if (name == "ret" || name == "exit") {
      i.kind = Kind::exit;
      m.take("uni");
      m.finish();
    } else if (name == "bar" || name == "barrier") {
      barrier(i, m);
    } else if (name == "membar" || name == "fence") {
      i.kind = Kind::nothing;
      while (!m.empty()) m.take(std::string(m.next()));
    } else if (name == "shfl") {
      shuffle(i, m);
    } else if (name == "vote") {
      vote(i, m);
    } else if (name == "activemask") {
      if (m.take_type() != Type::b32) m.fail("not for this type");
      m.finish();
      i.kind = Kind::active_mask;
      i.unit = Unit::slow_arithmetic;
      add_out(i, typed(destination(), Type::b32, false));
    } else if (name == "cvta") {
      convert_address(i, m);
    } else if (name == "mov" && (peek().is("{") || peek(2).is("{"))) {
      move_parts(i, m);
    } else {
      compute(i, m);
    }
    expect(";");
    kernel_.code.push_back(std::move(i));
  }

  static void add_out(Instruction& i, Slot slot) { i.out[i.outs++] = slot; }
  static void add_in(Instruction& i, Slot slot) { i.in[i.ins++] = slot; }

  std::uint64_t mask_of(Slot slot) const {
    const unsigned bytes = bytes_of(kernel_.slots[slot].type);
    return bytes == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << 8 * bytes) - 1;
  }

  void compute(Instruction& i, Modifiers& m) {
    const Operation op = operation_of(m);
    i.kind = Kind::compute;
    i.compute = op.compute;
    i.unit = op.unit;
    i.issue_slots = op.issue_slots;
    i.unit_slots = op.unit_slots;
    i.rounding = op.rounding;
    i.saturate = op.saturate;
    i.flush = op.flush;
    add_out(i, typed(destination(), op.out, op.any_width));
    i.out_mask = mask_of(i.out[0]);
    for (const Type type : op.in) {
      expect(",");
      add_in(i, typed(operand(), type, op.any_width));
    }
    // Both get the same register of the machine.
    if (m.name() == "mov" && kernel_.slots[i.in[0]].kind == SlotInfo::Kind::reg) i.issue_slots = i.unit_slots = 0;
  }

  // Window addresses of shared and local memory are what generic ones are made of (interpreter.h).
  void convert_address(Instruction& i, Modifiers& m) {
    const bool to = m.take("to");
    const std::optional<Space> space = m.take(space_named);
    if (!space) m.fail("the state space is missing");
    if (m.take_type() != Type::u64) m.fail("not for this type");
    m.finish();
    const Type type = Type::u64;
    add_out(i, typed(destination(), type, false));
    expect(",");
    add_in(i, typed(operand(), type, false));
    i.kind = Kind::compute;
    i.issue_slots = i.unit_slots = 0;
    i.unit = Unit::arithmetic;
    i.space = *space;
    i.compute = address_conversion_of(*space, to);
    if (i.compute == nullptr) m.fail("not for this state space");
  }

  // mov.b64 {%r1, %r2}, %rd1 and mov.b64 %rd1, {%r1, %r2}
  void move_parts(Instruction& i, Modifiers& m) {
    const Type type = m.take_type();
    m.finish();
    // {%r1, %r2} may stand on either side
    const std::vector<Slot> out = list(&Parser::destination);
    expect(",");
    const std::vector<Slot> in = list(&Parser::operand);
    const std::size_t parts = std::max(out.size(), in.size());
    if (std::min(out.size(), in.size()) != 1 || (parts != 2 && parts != 4) || bytes_of(type) % parts != 0) m.fail("not so many parts");
    const unsigned width = bytes_of(type) / static_cast<unsigned>(parts);
    const Type part = width == 4 ? Type::b32 : width == 2 ? Type::b16 : Type::b8;
    for (const Slot slot : out) add_out(i, typed(slot, out.size() == 1 ? type : part, false));
    for (const Slot slot : in) add_in(i, typed(slot, in.size() == 1 ? type : part, false));
    i.kind = Kind::compute;
    i.unit = Unit::arithmetic;
    i.type = part;
    if (width == 4) i.issue_slots = i.unit_slots = 0;  // a pair of registers
    i.compute = out.size() == 1 ? joining_of_parts() : splitting_into_parts();
  }

  void take_space(Instruction& i, Modifiers& m) {
    if (m.take("volatile")) i.read_only = false;
    for (const std::string_view order : {"relaxed", "weak", "cta", "gpu", "sys"}) m.take(order);
    i.space = m.take(space_named).value_or(Space::generic);
    if (m.take("to")) m.fail("not known");
    for (const std::string_view hint : {"ca", "cg", "cs", "lu", "cv", "wb", "wt"}) m.take(hint);
    i.read_only = m.take("nc");
    i.vector = m.take("v2") ? 2 : m.take("v4") ? 4 : 1;
    i.type = m.take_type();
    m.finish();
    i.unit = Unit::memory;
    if (i.type == Type::pred || i.vector * bytes_of(i.type) > 16) m.fail("not for this type");
  }

  // [%rd1+8], [name+8], [name]
  void address(Instruction& i) {
    expect("[");
    add_in(i, operand());
    if (take("+")) i.offset = static_cast<std::int64_t>(expect_number());
    expect("]");
    const SlotInfo& slot = kernel_.slots[i.in[0]];
    if (slot.kind == SlotInfo::Kind::reg && bytes_of(slot.type) < 4) fail("the address is in a register of less than 32 bits");
  }

  void load(Instruction& i, Modifiers& m) {
    i.kind = Kind::load;
    take_space(i, m);
    if (i.space == Space::param || i.space == Space::constant) {  // operands of machine instructions, most of them
      i.unit = Unit::control;
      i.issue_slots = i.unit_slots = i.space == Space::param ? 0 : 1;
    }
    for (const Slot slot : list(&Parser::destination)) {
      if (i.outs == i.vector) fail("too many registers");
      add_out(i, typed(slot, i.type, true));
    }
    if (i.outs != i.vector) fail("too few registers");
    i.out_mask = mask_of(i.out[0]);
    expect(",");
    address(i);
  }

  void store(Instruction& i, Modifiers& m) {
    i.kind = Kind::store;
    take_space(i, m);
    if (i.space == Space::param || i.space == Space::constant || i.read_only) m.fail("nothing can be written there");
    address(i);
    expect(",");
    for (const Slot slot : list(&Parser::operand)) {
      if (i.ins == i.vector + 1) fail("too many values");
      add_in(i, typed(slot, i.type, true));
    }
    if (i.ins != i.vector + 1) fail("too few values");
  }

  void atomic(Instruction& i, Modifiers& m, bool returns) {
    static constexpr std::string_view kNames[] = {"add", "min", "max", "exch", "cas", "and", "or", "xor"};
    i.kind = Kind::atomic;
    i.unit = Unit::memory;
    i.space = m.take(space_named).value_or(Space::generic);
    const std::string operation = m.next();
    const auto found = std::find(std::begin(kNames), std::end(kNames), operation);
    if (found == std::end(kNames)) m.fail("the operation '" + operation + "' is not known");
    i.atomic = static_cast<Atomic>(found - std::begin(kNames));
    m.take(operation);
    i.type = m.take_type();
    m.finish();
    if (bytes_of(i.type) < 4 || i.type == Type::f64 || i.type == Type::f16x2 || (i.type == Type::f32 && i.atomic != Atomic::add))
      m.fail("not for this type");
    if (returns) {
      add_out(i, typed(destination(), i.type, false));
      expect(",");
    }
    address(i);
    for (int values = i.atomic == Atomic::compare_exchange ? 2 : 1; values > 0; values--) {
      expect(",");
      add_in(i, typed(operand(), i.type, false));
    }
  }

  void barrier(Instruction& i, Modifiers& m) {
    if (m.take("warp")) {
      if (!m.take("sync")) m.fail("not known");
      i.kind = Kind::warp_barrier;
      add_in(i, typed(operand(), Type::b32, false));
    } else {
      if (!m.take("sync")) m.fail("not known");
      m.take("aligned");
      i.kind = Kind::barrier;
      if (expect_number() != 0) fail("only barrier 0 is known");
    }
    m.finish();
  }

  void shuffle(Instruction& i, Modifiers& m) {
    if (!m.take("sync")) m.fail("sync is missing");
    static constexpr std::string_view kModes[] = {"up", "down", "bfly", "idx"};
    const std::string mode = m.next();
    const auto found = std::find(std::begin(kModes), std::end(kModes), mode);
    if (found == std::end(kModes)) m.fail("the mode '" + mode + "' is not known");
    i.exchange = static_cast<Exchange>(found - std::begin(kModes));
    m.take(mode);
    if (m.take_type() != Type::b32) m.fail("not for this type");
    m.finish();
    i.kind = Kind::shuffle;
    i.unit = Unit::shuffle;
    add_out(i, typed(destination(), Type::b32, false));
    if (take("|")) add_out(i, typed(destination(), Type::pred, false));
    for (int k = 0; k < 4; k++) {  // value, lane, clamp, mask
      expect(",");
      add_in(i, typed(operand(), Type::b32, false));
    }
  }

  void vote(Instruction& i, Modifiers& m) {
    if (!m.take("sync")) m.fail("sync is missing");
    i.kind = Kind::vote;
    i.unit = Unit::slow_arithmetic;
    if (m.take("all"))
      i.vote = Vote::all;
    else if (m.take("any"))
      i.vote = Vote::any;
    else if (m.take("uni"))
      i.vote = Vote::uniform;
    else if (m.take("ballot"))
      i.vote = Vote::ballot;
    else
      m.fail("the mode is not known");
    const Type type = m.take_type();
    if (type != (i.vote == Vote::ballot ? Type::b32 : Type::pred)) m.fail("not for this type");
    m.finish();
    add_out(i, typed(destination(), type, false));
    expect(",");
    const bool negated = take("!");
    i.negated = negated;
    add_in(i, typed(operand(), Type::pred, false));
    expect(",");
    add_in(i, typed(operand(), Type::b32, false));
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::string current_;  // directive or instruction being read, for errors
  Module module_;
  std::map<std::string, Declaration> module_shared_;
  std::map<std::string, std::uint64_t> module_symbols_;

  struct Jump {
    std::size_t instruction;
    std::string label;
    int line;
  };
  Kernel kernel_;
  std::vector<std::map<std::string, Slot>> registers_;  // by scope
  std::map<std::string, Slot> symbols_, specials_;
  std::map<std::uint64_t, Slot> constants_;
  std::map<std::string, std::size_t> labels_;
  std::vector<Jump> jumps_;
};

}  // namespace

Module parse(std::string_view text) { return Parser(text).parse(); }

const Kernel& Module::kernel(const std::string& name) const {
  const auto found = kernels.find(name);
  if (found != kernels.end()) return found->second;
  std::string names;
  for (const auto& [other, kernel] : kernels) names += (names.empty() ? "" : ", ") + other;
  throw std::runtime_error("there is no kernel '" + name + "' among: " + names);
}

}  // namespace leafcutter::ptx
