// What is wrong with a PTX text, or with what a kernel does: the line of the text and the instruction at fault.
#pragma once

#include <stdexcept>
#include <string>

namespace leafcutter::ptx {

class Error : public std::runtime_error {
 public:
  Error(int line, const std::string& instruction, const std::string& problem)
      : std::runtime_error("PTX line " + std::to_string(line) + ": " + instruction + ": " + problem), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

}  // namespace leafcutter::ptx
