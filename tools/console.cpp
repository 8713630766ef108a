#include "tools/console.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/size_text.h"
#include "tools/elapsed.h"

namespace leafcutter::tools {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  return fmt::format("{:.0f} min {:.0f} s", std::floor(seconds / 60), std::fmod(seconds, 60));
}

// What a signal means just now.
struct Signals {
  std::mutex mutex;
  std::stop_source all;
  std::stop_source* answer = nullptr;
  bool at_prompt = false;

  void take(int signal) {
    const std::lock_guard lock(mutex);
    std::stop_source& first = answer ? *answer : all;
    if (at_prompt || first.stop_requested()) _exit(128 + signal);
    first.request_stop();
    if (signal == SIGTERM) all.request_stop();
  }
};

// Lives as long as the thread that takes signals: to the end of the process.
Signals& signals_of_process() {
  static Signals& signals = *new Signals;
  return signals;
}

}  // namespace

void print_text(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(ErrorKind::io, "standard output", std::strerror(errno));
}

void print_json(const nlohmann::ordered_json& value) {
  print_text(value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

Notes::Notes(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void Notes::add(const std::string& note) {
  if (quiet_) return;
  if (terminal_)
    fmt::print(stderr, "{}\n", note);
  else
    held_.push_back(note);
}

void Notes::succeeded() {
  for (const std::string& note : held_) fmt::print(stderr, "{}\n", note);
  held_.clear();
}

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), start_(Clock::now()), last_(start_) {}

Progress::~Progress() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

bool Progress::due() {
  if (!terminal_ || Clock::now() - start_ < 500ms || Clock::now() - last_ < 100ms) return false;
  last_ = Clock::now();
  return true;
}

void Progress::draw(const std::string& line) {
  fmt::print(stderr, "\r{}\033[K", line);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::bytes(std::uint64_t done, std::uint64_t total) {
  if (!due() || total == 0) return;
  const double spent = seconds_since(start_), rate = static_cast<double>(done) / spent;
  const double left = rate > 0 ? static_cast<double>(total - std::min(done, total)) / rate : 0;
  draw(fmt::format("{}  {} of {}  {}/s  {} left", what_, format_bytes(done), format_bytes(total),
                   format_bytes(static_cast<std::uint64_t>(rate)), duration_text(left)));
}

void Progress::count(std::uint64_t done, std::uint64_t total, const std::string& remark) {
  if (due()) draw(fmt::format("{}  {} of {}  {}", what_, done, total, remark));
}

std::stop_token stop_on_signal() {
  static const bool started = [] {
    // The signals are taken by a thread of their own: a stop request may run callbacks, which no signal handler may.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([signals] {
      for (;;) {
        int signal = 0;
        if (sigwait(&signals, &signal) == 0) signals_of_process().take(signal);
      }
    }).detach();
    return true;
  }();
  (void)started;
  return signals_of_process().all.get_token();
}

AnswerSignals::AnswerSignals() {
  const std::lock_guard lock(signals_of_process().mutex);
  signals_of_process().answer = &source_;
}

AnswerSignals::~AnswerSignals() {
  const std::lock_guard lock(signals_of_process().mutex);
  signals_of_process().answer = nullptr;
}

PromptSignals::PromptSignals() {
  const std::lock_guard lock(signals_of_process().mutex);
  signals_of_process().at_prompt = true;
}

PromptSignals::~PromptSignals() {
  const std::lock_guard lock(signals_of_process().mutex);
  signals_of_process().at_prompt = false;
}

}  // namespace leafcutter::tools
