// Does a device compute what the CPU does, and how fast is it? For the first run on a card that nobody here has seen, and for any later one.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "offload/device.h"

namespace leafcutter::offload {

struct SelftestLine {
  std::string name;               // "product q4, 8 rows"
  std::optional<bool> is_passed;  // none: a measurement
  std::string detail;             // for people
  double value = 0;               // largest difference as a part of the largest value, GB/s, or a ratio
};

using SelftestReport = std::function<void(const SelftestLine&)>;

// Each kernel with each layout or type that it has, tails among them: products are held against sums in double, the others against the CPU's operators. What a device refuses or fails at is a line that did not pass; a
// lost device is thrown.
void check_device_kernels(Device& device, const SelftestReport& report);

// Copies of one piece and of rows with strides, up, down and within, pinned and not: byte by byte.
void check_device_copies(Device& device, const SelftestReport& report);

// Rates of the link up and down, of device memory, of a product with one row in weights read a second, and how well copies and kernels go on at a time: wall / max(copy, compute), 1 is perfect.
// At most `bytes` of device memory and of pinned memory are used, at least 1 MiB. most_overlap: what that ratio may be, in the best of a few tries, to pass; none: it is not judged.
void measure_device(Device& device, std::size_t bytes, const SelftestReport& report, std::optional<double> most_overlap = {});

}  // namespace leafcutter::offload
