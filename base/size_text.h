// Sizes as people write them: "2GiB", "1500MB", "60%", "-1GiB" (all but that much), a bare number is bytes.
#pragma once

#include <cstdint>
#include <string>

namespace leafcutter {

struct SizeText {
  enum class Kind { bytes, percent_of_available, available_minus } kind = Kind::bytes;
  std::uint64_t bytes = 0;  // of kinds bytes and available_minus
  double percent = 0;       // of kind percent_of_available, 0 < percent <= 100

  // What it means where `available` bytes are there; never below 0.
  std::uint64_t resolve(std::uint64_t available) const;
};

// Throws Error(usage) naming `flag` and what was found. Units: B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024),
// K, M, G, T (as KiB...); case does not matter; fractions such as 1.5GiB are allowed.
SizeText parse_size(const std::string& text, const std::string& flag);

// "1.50 GiB", "640 KiB", "12 B": three significant digits, for people.
std::string format_bytes(std::uint64_t bytes);

}  // namespace leafcutter
