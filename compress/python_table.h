// One table in Python source, `P = {'key': number or table, ...}`, read as data, value by value: no tree is built, and nesting goes no deeper than the caller's own calls.
// Comments and lines `from __future__ import ...` may stand in front. Strings know the escapes \\, \', \" and \uXXXX.
//
// Every function throws Error(bad_file) naming file and line. Not thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace leafcutter::compress {

class PythonTable {
 public:
  // Reads up to the value: the next call is dictionary() or number().
  PythonTable(std::string_view text, std::string file);

  // Calls value(key) for each key; it must read the value with one call of this reader. Keys are UTF-8, of at most kKeyBytes bytes; they may come twice.
  template <class Value>
  void dictionary(Value&& value) {
    expect('{');
    for (bool first = true; next_item(first); first = false) {
      const std::string key = string();
      expect(':');
      value(key);
    }
  }

  double number();
  void end();  // nothing but white space and comments follows

  [[noreturn]] void refuse(const std::string& problem) const;

  static constexpr std::size_t kKeyBytes = 64;

 private:
  void skip_space();
  char peek();  // '\0' at the end
  void expect(char c);
  bool next_item(bool first);
  std::string string();
  void escape(std::string& out);

  std::string_view text_;
  std::string file_;
  std::size_t at_ = 0;
};

}  // namespace leafcutter::compress
