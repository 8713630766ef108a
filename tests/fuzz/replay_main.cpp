// Runs a fuzz target over every file of a folder (which may be missing), each also cut short and with bytes changed: what a fuzzer found stays found where there is no fuzzer.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void try_input(const std::string& bytes) { LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()); }

// Some hundred variants, the same each time.
void try_variants(const std::string& bytes) {
  try_input(bytes);
  std::uint32_t state = 1;
  for (int i = 0; i < 300; i++) {
    std::string variant = bytes;
    for (int changes = 1 + i % 3; changes > 0 && !variant.empty(); changes--) {
      state = state * 1664525 + 1013904223;
      variant[state % variant.size()] ^= static_cast<char>(1u << (state >> 29));
    }
    if (i % 4 == 0) variant.resize(state % (variant.size() + 1));
    try_input(variant);
  }
}

}  // namespace

int main(int count, char** arguments) {
  std::size_t files = 0;
  if (count > 1 && std::filesystem::is_directory(arguments[1]))
    for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) {
      std::ifstream in(entry.path(), std::ios::binary);
      try_variants({std::istreambuf_iterator<char>(in), {}});
      files++;
    }
  try_variants({});
  std::printf("%zu files and their variants\n", files);
  return 0;
}
