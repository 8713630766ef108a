// A Python pickle (protocols 2 to 5) as plain data: a table of opcodes builds numbers, texts, tuples, lists and dicts; a name of Python is only ever looked up in a fixed
// table. Nothing is imported, called or evaluated; what is in no table is refused by its name. Bytes in, facts out; no I/O.
// Source: the opcode descriptions of CPython's pickletools.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace leafcutter::compress {

struct PickleLimits {
  static constexpr std::size_t kBytes = 4u << 20;  // some 20,000 tensors
  static constexpr std::size_t kValues = 400'000;  // 32 bytes each, lists and dicts 24 more
  static constexpr std::size_t kDepth = 32;        // of values within values, and of marks
  static constexpr std::size_t kGlobalBytes = 256;
};

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  real,
  text,
  bytes,
  tuple,
  list,
  dict,
  global,      // a name of the table
  persistent,  // an object kept outside of the pickle: its one child tells which
  call         // what the pickle wants called: children are the global and the tuple of its arguments; never done here
};

// A name that a pickle may hold.
struct PickleGlobal {
  enum class Use : std::uint8_t { value, call, ordered_dict };
  std::string_view module, name;
  Use use;  // call: may stand before arguments; ordered_dict: called without arguments it is an empty dict, which may be given `_metadata`; value: neither
};

struct PickleValue {
  PickleKind kind{};
  std::uint8_t depth = 0;
  bool ordered = false;     // a dict that came from an ordered_dict
  std::uint32_t at = 0;     // offset of the opcode that made it
  std::uint32_t begin = 0;  // of its bytes in the pickle (text, bytes) or of its children; which container (list, dict)
  std::uint32_t size = 0;
  std::int64_t number = 0;  // integer; boolean; global: its place in the table; real: its bits
};

class Pickle {
 public:
  const PickleValue& root() const { return values_[root_]; }
  const PickleValue& operator[](std::uint32_t index) const { return values_[index]; }
  std::size_t size() const { return values_.size(); }
  std::string_view text(const PickleValue& value) const;  // of a text or bytes
  std::span<const std::uint32_t> children(
      const PickleValue& value) const;  // of a tuple, list, persistent, call; key, value, key, value, ... of a dict
  double real(const PickleValue& value) const;

 private:
  friend class PickleReader;

  std::span<const std::byte> bytes_;
  std::vector<PickleValue> values_;
  std::vector<std::uint32_t> fixed_;                    // children of tuples, persistents and calls
  std::vector<std::vector<std::uint32_t>> containers_;  // children of lists and dicts
  std::uint32_t root_ = 0;
};

// `bytes` is kept by reference and must outlive the result. Values may be shared and a list may even hold itself: whoever walks the result bounds its own depth.
// Throws Error(bad_file | unsupported): place is `where` (file and entry) with the offset; names opcode or global. At most some 40 MiB.
Pickle read_pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals, const std::string& where);

}  // namespace leafcutter::compress
