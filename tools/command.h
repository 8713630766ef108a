// A subcommand: one row of the table in main.cpp and one file.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"

namespace leafcutter::tools {

struct CommonFlags {
  bool json = false;
  bool quiet = false;
};

// Flags that do not go together, found after parsing: the program ends with status 2, as for those that parsing refuses.
class WrongCommandLine : public Error {
 public:
  WrongCommandLine(const std::string& flag, const std::string& problem, const std::string& hint)
      : Error(ErrorKind::usage, flag, problem, hint) {}
};

// Adds the subcommand's flags to `app` and gives what runs it after parsing. Flags that cannot be right are refused while parsing or are a WrongCommandLine (exit 2); whatever else fails later is an Error (exit 1).
using RunCommand = std::function<void(const CommonFlags&)>;
using AddCommand = RunCommand (*)(CLI::App& app);

RunCommand add_compress(CLI::App& app);
RunCommand add_inspect(CLI::App& app);
RunCommand add_verify(CLI::App& app);
RunCommand add_plan(CLI::App& app);
RunCommand add_run(CLI::App& app);
RunCommand add_eval(CLI::App& app);
RunCommand add_score(CLI::App& app);
RunCommand add_bench(CLI::App& app);
RunCommand add_profile(CLI::App& app);
RunCommand add_tokenize(CLI::App& app);
RunCommand add_synth(CLI::App& app);
RunCommand add_doctor(CLI::App& app);
RunCommand add_selftest(CLI::App& app);

}  // namespace leafcutter::tools
