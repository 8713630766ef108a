// What went wrong with something from outside (a file, a flag, a request, memory, a device). Our own mistakes are asserts.
#pragma once

#include <stdexcept>
#include <string>

namespace leafcutter {

enum class ErrorKind { bad_file, unsupported, not_found, io, out_of_budget, device, cancelled, usage };

// Thrown where the fact is known; tools catch it once and print `what()` on one line.
class Error : public std::runtime_error {
 public:
  // where: "model.safetensors, tensor lm_head.weight, offset 1024"; hint: what to do next, may be empty.
  Error(ErrorKind kind, const std::string& where, const std::string& problem, const std::string& hint = {})
      : std::runtime_error(where + ": " + problem + (hint.empty() ? "" : " (" + hint + ")")), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace leafcutter
