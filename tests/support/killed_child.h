// A child process that is killed in the middle of its work.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace leafcutter::test {

enum class ChildEnd { finished, killed, failed };

// Runs `work` in a forked child and kills it with SIGKILL after `delay` unless it has ended. Call it while this process has one thread. The child leaves without running
// destructors of this process; an exception in it gives `failed`.
template <class Work>
ChildEnd run_and_kill(std::chrono::microseconds delay, Work&& work) {
  const pid_t child = ::fork();
  if (child < 0) return ChildEnd::failed;
  if (child == 0) {
    try {
      work();
    } catch (...) { ::_exit(1); }
    ::_exit(0);
  }
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return ChildEnd::failed;
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL ? ChildEnd::killed : ChildEnd::failed;
  return WEXITSTATUS(status) == 0 ? ChildEnd::finished : ChildEnd::failed;
}

}  // namespace leafcutter::test
