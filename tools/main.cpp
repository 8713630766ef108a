// The command `leafcutter`: parses the command line, runs a subcommand, turns errors into one line and an exit status (0 done, 1 failed, 2 command line).
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "base/error.h"
#include "tools/command.h"
#include "tools/version.h"

namespace leafcutter::tools {
namespace {

struct Row {
  const char* name;
  const char* help;
  AddCommand add;
};

constexpr Row kCommands[] = {
    {"compress", "turn a checkpoint into a .leaf: quantize, pack, checksum", add_compress},
    {"inspect", "what is inside a .leaf", add_inspect},
    {"verify", "check every checksum of a .leaf", add_verify},
    {"plan", "what would go where, and what it needs", add_plan},
    {"run", "generate text", add_run},
    {"eval", "perplexity of a text", add_eval},
    {"score", "log-probabilities of given answers to a prompt", add_score},
    {"bench", "speed of prefill and decode", add_bench},
    {"profile", "where time and memory go, as a page", add_profile},
    {"tokenize", "text to ids and back", add_tokenize},
    {"synth", "a .leaf with random weights of a known shape", add_synth},
    {"doctor", "what this machine can do for Leafcutter", add_doctor},
    {"selftest", "does the device compute what the CPU does, and how fast is it", add_selftest},
};

std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

int run(int argc, char** argv) {
  CLI::App app("Leafcutter runs language models far larger than the memory at hand.", "leafcutter");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error&) { return std::string(); });
  CommonFlags flags;
  RunCommand chosen;
  for (const Row& row : kCommands) {
    CLI::App* command = app.add_subcommand(row.name, row.help);
    command->add_flag("--json", flags.json, "print JSON, one object a line");
    command->add_flag("-q,--quiet", flags.quiet, "no remarks on stderr");
    const RunCommand action = row.add(*command);
    command->final_callback([&chosen, action] { chosen = action; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    const auto used = app.get_subcommands();
    const std::string name = used.empty() ? "leafcutter" : std::string("leafcutter ") + used.front()->get_name();
    fmt::print(stderr, "{}: {} (see {} --help)\n", name, one_line(e.what()), name);
    return 2;
  }
  chosen(flags);
  return 0;
}

}  // namespace
}  // namespace leafcutter::tools

int main(int argc, char** argv) {
  using namespace leafcutter;
  try {
    return tools::run(argc, argv);
  } catch (const tools::WrongCommandLine& e) {
    fmt::print(stderr, "leafcutter: {}\n", tools::one_line(e.what()));
    return 2;
  } catch (const Error& e) {
    fmt::print(stderr, "leafcutter: {}\n", tools::one_line(e.what()));
    return 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "leafcutter: memory: the system refuses to give more (close other programs or set a smaller --memory)\n");
  } catch (const std::exception& e) { fmt::print(stderr, "leafcutter: {}\n", tools::one_line(e.what())); }
  return 1;
}
