// Loading and generating as the README shows it. usage: six_lines MODEL.leaf ID...
#include <leafcutter/leafcutter.h>

#include <cstdint>
#include <iostream>

int main(int argc, char** argv) {
  std::vector<std::uint32_t> prompt;
  for (int i = 2; i < argc; i++) prompt.push_back(static_cast<std::uint32_t>(std::stoul(argv[i])));
  auto model = leafcutter::Model::load(argv[1], {.memory = "256MiB", .ctx_size = 64});
  model.generate(prompt, {.max_tokens = 8, .temperature = 0, .ignore_end = true},
                 [](const leafcutter::Token& t) { std::cout << t.id << "\n"; });
}
