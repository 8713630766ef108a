#include "runtime/prefix_table.h"

namespace leafcutter::runtime {
namespace {

// The first of begin..end that does not hold, where those that hold come first.
template <class Holds>
std::uint32_t first_not(std::uint32_t begin, std::uint32_t end, Holds&& holds) {
  while (begin < end) {
    const std::uint32_t middle = begin + (end - begin) / 2;
    if (holds(middle))
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

}  // namespace

PrefixTable::Range PrefixTable::walk(Range range, std::string_view piece) const {
  const auto next = [&](std::uint32_t i) { return text(i).substr(range.depth, piece.size()); };
  const std::uint32_t first = first_not(range.first, range.end, [&](std::uint32_t i) { return next(i) < piece; });
  // Those that fit are mostly few: steps that double find their end without looking at the rest.
  std::uint32_t known = first, end = first;
  for (std::uint32_t step = 1; end < range.end && next(end) == piece; step *= 2) {
    known = end + 1;
    end = range.end - end > step ? end + step : range.end;
  }
  end = first_not(known, end, [&](std::uint32_t i) { return next(i) == piece; });
  return {first, end, range.depth + static_cast<std::uint32_t>(piece.size())};
}

}  // namespace leafcutter::runtime
