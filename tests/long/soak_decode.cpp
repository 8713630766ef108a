// soak_decode MODEL MEMORY SECONDS: answers one random prompt after another with the same model until the time is over, and prints once a second how many tokens there were so far. The numbers
// are for soak.py, which watches the process.
#include <leafcutter/leafcutter.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stop_token>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kPrompt = 24, kTokens = 96;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void soak(leafcutter::Model& model, double seconds) {
  std::mt19937_64 random(1);
  const Clock::time_point start = Clock::now();
  unsigned long long tokens = 0;
  double printed = 0;
  leafcutter::GenerateOptions options;
  options.max_tokens = kTokens;
  options.ignore_end = true;
  options.lookup = "off";
  std::stop_source over;
  options.cancel = over.get_token();
  while (seconds_since(start) < seconds) {
    options.seed = random();
    std::vector<std::uint32_t> prompt(kPrompt);
    for (std::uint32_t& id : prompt) id = static_cast<std::uint32_t>(random() % model.vocabulary_size());
    try {
      model.generate(prompt, options, [&](const leafcutter::Token&) {
        tokens++;
        const double now = seconds_since(start);
        if (now >= seconds) over.request_stop();  // an answer of 10 billion weights may take minutes more
        if (now - printed < 1) return;
        printed = now;
        std::printf("%.3f %llu\n", now, tokens);
        std::fflush(stdout);
      });
    } catch (const leafcutter::Error& e) {
      if (e.kind() != leafcutter::ErrorKind::cancelled) throw;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: soak_decode MODEL MEMORY SECONDS\n");
    return 2;
  }
  try {
    auto model = leafcutter::Model::load(argv[1], {.memory = argv[2], .ctx_size = 256});
    soak(model, std::atof(argv[3]));
    const leafcutter::MemoryReport memory = model.memory();
    std::fprintf(stderr, "budget %llu, peak %llu, %llu streamed each step\n", static_cast<unsigned long long>(memory.budget),
                 static_cast<unsigned long long>(memory.measured_peak), static_cast<unsigned long long>(memory.streamed_per_step));
    return memory.measured_peak <= memory.budget ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
