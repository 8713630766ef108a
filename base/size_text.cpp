#include "base/size_text.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/error.h"

namespace leafcutter {
namespace {

struct Unit {
  const char* name;  // lower case
  double bytes;
};
constexpr double kKibi = 1024, kKilo = 1000;
constexpr Unit kUnits[] = {
    {"", 1},
    {"b", 1},
    {"k", kKibi},
    {"kb", kKilo},
    {"kib", kKibi},
    {"m", kKibi* kKibi},
    {"mb", kKilo* kKilo},
    {"mib", kKibi* kKibi},
    {"g", kKibi* kKibi* kKibi},
    {"gb", kKilo* kKilo* kKilo},
    {"gib", kKibi* kKibi* kKibi},
    {"t", kKibi* kKibi* kKibi* kKibi},
    {"tb", kKilo* kKilo* kKilo* kKilo},
    {"tib", kKibi* kKibi* kKibi* kKibi},
};

[[noreturn]] void refuse(const std::string& text, const std::string& flag) {
  throw Error(ErrorKind::usage, flag, "\"" + text.substr(0, 40) + "\" is no size", "write 2GiB, 1500MB, 60%, -1GiB or a number of bytes");
}

}  // namespace

std::uint64_t SizeText::resolve(std::uint64_t available) const {
  switch (kind) {
    case Kind::bytes:
      return bytes;
    case Kind::percent_of_available:
      return static_cast<std::uint64_t>(static_cast<double>(available) * (percent / 100));
    case Kind::available_minus:
      return available > bytes ? available - bytes : 0;
  }
  return 0;
}

SizeText parse_size(const std::string& text, const std::string& flag) {
  SizeText size;
  const bool minus = text.starts_with('-');
  const char* begin = text.data() + (minus ? 1 : 0);
  const char* end = text.data() + text.size();
  double number = 0;
  const auto [after, problem] = std::from_chars(begin, end, number, std::chars_format::fixed);
  if (problem != std::errc{} || after == begin || *begin == '-' || !std::isfinite(number)) refuse(text, flag);
  std::string unit;
  for (const char* c = after; c < end; c++)
    if (*c != ' ' || !unit.empty()) unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  if (unit == "%") {
    if (minus || number <= 0 || number > 100) refuse(text, flag);
    size.kind = SizeText::Kind::percent_of_available;
    size.percent = number;
    return size;
  }
  for (const Unit& candidate : kUnits)
    if (unit == candidate.name) {
      const double bytes = number * candidate.bytes;
      if (!(bytes < 0x1p63)) refuse(text, flag);
      size.kind = minus ? SizeText::Kind::available_minus : SizeText::Kind::bytes;
      size.bytes = static_cast<std::uint64_t>(bytes);
      return size;
    }
  refuse(text, flag);
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kNames.size()) value /= 1024, unit++;
  char text[32];
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f %s", digits, value, kNames[unit]);
  return text;
}

}  // namespace leafcutter
