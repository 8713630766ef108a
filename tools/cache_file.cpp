#include "tools/cache_file.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "tools/model_source.h"

namespace leafcutter::tools {
namespace {

using nlohmann::json;

constexpr std::uintmax_t kMostCacheBytes = 1 << 20;

std::string cache_path() { return (std::filesystem::path(cache_folder()) / "rates.json").string(); }

}  // namespace

json read_cache() {
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(cache_path(), ignored);
  if (ignored || bytes > kMostCacheBytes) return json::object();
  std::ifstream in(cache_path());
  json all = json::parse(std::string{std::istreambuf_iterator<char>(in), {}}, nullptr, false);
  return all.is_object() ? all : json::object();
}

void write_cache(const json& all) {
  std::error_code ignored;
  std::filesystem::create_directories(cache_folder(), ignored);
  try {
    const std::string text = all.dump(1) + "\n";
    const auto file = create_file(cache_path());
    file->write_at(0, std::as_bytes(std::span(text)));
    file->commit();
  } catch (const Error&) {  // then it is measured again next time
  }
}

double positive_in(const json& object, const char* name) {
  const auto found = object.find(name);
  const double value = found != object.end() && found->is_number() ? found->get<double>() : 0;
  return std::isfinite(value) && value > 0 ? value : 0;
}

}  // namespace leafcutter::tools
