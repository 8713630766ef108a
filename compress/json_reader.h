// JSON read value by value, straight into the structures that want it: no tree is built, so a hostile text costs no memory beyond what the caller keeps, and nesting
// goes no deeper than the caller's own calls. For texts of our own (the model description); importers read the JSON of others with a library.
//
// Every function throws Error(bad_file) naming `where`, the path inside the text and the byte. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/printable_text.h"

namespace leafcutter::compress {

class JsonReader {
 public:
  JsonReader(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  // Calls member(key) for each member; it must read the value with one call of this reader. A key that comes twice is refused.
  template <class Member>
  void object(Member&& member) {
    std::vector<std::string> keys;
    expect('{');
    for (bool first = true; next_item(first, '}'); first = false) {
      std::string key = string(kKeyBytes);
      for (const std::string& other : keys)
        if (other == key) refuse("\"" + printable_text(key, kKeyBytes) + "\" comes twice");
      if (keys.size() == kMembers) refuse("has more than " + std::to_string(kMembers) + " members");
      keys.push_back(key);
      expect(':');
      const Step step(*this, "." + printable_text(key, kKeyBytes));
      member(key);
    }
  }

  // Calls element(i) for each element, at most `limit` of them; it must read the element with one call of this reader.
  template <class Element>
  void array(std::size_t limit, Element&& element) {
    expect('[');
    std::size_t count = 0;
    for (bool first = true; next_item(first, ']'); first = false) {
      if (count == limit) refuse("has more than " + std::to_string(limit) + " elements");
      const Step step(*this, "[" + std::to_string(count) + "]");
      element(count++);
    }
  }

  bool boolean();
  std::uint64_t whole_number(std::uint64_t limit);  // digits alone; up to limit
  double number();                                  // finite
  std::string string(std::size_t limit);            // at most limit bytes, well-formed UTF-8
  void end();                                       // nothing but white space follows

  [[noreturn]] void refuse(const std::string& problem) const;
  // For a member that the caller does not know: a later version may have written it.
  [[noreturn]] void refuse_unknown(const std::string& key) const;

 private:
  static constexpr std::size_t kKeyBytes = 64;
  static constexpr std::size_t kMembers = 64;

  // While it lives, messages name this part of the path.
  class Step {
   public:
    Step(JsonReader& reader, const std::string& part) : reader_(reader), before_(reader.path_.size()) { reader.path_ += part; }
    ~Step() { reader_.path_.resize(before_); }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    JsonReader& reader_;
    std::size_t before_;
  };

  void skip_space();
  char peek();  // next character that is no white space, 0 at the end
  void expect(char c);
  bool next_item(bool first, char closing);
  std::string_view number_text();
  std::uint32_t hex4();
  void append_escape(std::string& out);

  std::string_view text_;
  std::string where_;
  std::string path_;
  std::size_t at_ = 0;
};

}  // namespace leafcutter::compress
