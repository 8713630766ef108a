// What each arithmetic instruction computes in a lane, and what it costs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/ptx/module.h"

namespace leafcutter::ptx {

// The modifiers of an opcode, taken one after another; what nobody takes is an error.
class Modifiers {
 public:
  Modifiers(std::string_view opcode, int line);
  const std::string& name() const { return name_; }  // add of add.s32
  bool empty() const { return words_.empty(); }
  const std::string& next() const;   // throws where there is none
  bool take(std::string_view word);  // the next, if it is this one
  Type take_type();                  // throws where the next is none
  template <class Value>             // by type_named, space_named, ...
  std::optional<Value> take(std::optional<Value> (*named)(std::string_view)) {
    if (empty()) return {};
    const std::optional<Value> value = named(words_.front());
    if (value) words_.erase(words_.begin());
    return value;
  }
  void finish() const;  // throws where some are left
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  std::string opcode_, name_;
  std::vector<std::string> words_;
  int line_;
};

struct Operation {
  Compute compute = nullptr;
  Type out = Type::b32;
  std::vector<Type> in;
  Unit unit = Unit::arithmetic;
  unsigned issue_slots = 1, unit_slots = 1;
  Rounding rounding = Rounding::nearest;
  bool saturate = false, flush = false;
  bool any_width = false;  // cvt: registers may be wider than the types
};

// Throws Error for an opcode or modifier that is not known.
Operation operation_of(Modifiers& modifiers);
Operation conversion_of(Modifiers& modifiers);

// mov between one register and several that each have Instruction::type, lowest first.
Compute joining_of_parts();
Compute splitting_into_parts();
// cvta between generic addresses and those of a state space, in either direction (to: from generic ones). nullptr: not known.
Compute address_conversion_of(Space space, bool to);

}  // namespace leafcutter::ptx
