// Data on stdout, talk on stderr: notes, progress, JSON lines, and the stop request of Ctrl-C.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <vector>

namespace leafcutter::tools {

// One line of JSON on stdout, flushed; broken UTF-8 is replaced, never an error.
void print_json(const nlohmann::ordered_json& value);

// Text on stdout, flushed. Throws Error(io) when nobody can read it any more.
void print_text(const std::string& text);

// Remarks for people. On a terminal they are shown at once, otherwise when the command has succeeded: a failing command writes its error alone.
class Notes {
 public:
  explicit Notes(bool quiet);
  void add(const std::string& note);
  void succeeded();

 private:
  bool quiet_, terminal_;
  std::vector<std::string> held_;
};

// A line on stderr that is redrawn: "compress  1.20 GiB of 2.20 GiB  310 MiB/s  4 s left". Draws nothing when stderr is no terminal, or before half a second has passed.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();  // wipes the line
  void bytes(std::uint64_t done, std::uint64_t total);
  void count(std::uint64_t done, std::uint64_t total, const std::string& remark);

 private:
  bool due();
  void draw(const std::string& line);

  std::string what_;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

// Requested by SIGINT and SIGTERM from the first call on; the second signal ends the program at once, with status 128 + its number.
std::stop_token stop_on_signal();

// In a conversation, while one lives: SIGINT asks only the answer that is being made to stop. SIGTERM asks the answer and stop_on_signal's token; a second signal ends the program at once. One at a time.
class AnswerSignals {
 public:
  AnswerSignals();
  ~AnswerSignals();
  AnswerSignals(const AnswerSignals&) = delete;
  AnswerSignals& operator=(const AnswerSignals&) = delete;
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
};

// While one lives, the first signal ends the program at once: it waits for a line, where nothing looks at stop requests.
class PromptSignals {
 public:
  PromptSignals();
  ~PromptSignals();
  PromptSignals(const PromptSignals&) = delete;
  PromptSignals& operator=(const PromptSignals&) = delete;
};

}  // namespace leafcutter::tools
