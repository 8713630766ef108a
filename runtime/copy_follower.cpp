#include "runtime/copy_follower.h"

#include <algorithm>

#include "runtime/lookup.h"

namespace leafcutter::runtime {
namespace {

// Found by replaying edits, tables and summaries of a small model with these and with half and twice of them.
constexpr std::size_t kFollowFrom = 2;     // repeats of so many ids are taken for a copy
constexpr std::size_t kLongestSkip = 8;    // of the source, behind which it is looked for again
constexpr std::size_t kLongestChange = 8;  // ids that came in place of something; longer: the copy has ended
constexpr std::size_t kLongestReplaced = 4;

bool same(std::span<const std::uint32_t> ids, std::size_t a, std::size_t b, std::size_t length) {
  return std::equal(ids.begin() + static_cast<std::ptrdiff_t>(a), ids.begin() + static_cast<std::ptrdiff_t>(a + length),
                    ids.begin() + static_cast<std::ptrdiff_t>(b));
}

}  // namespace

CopyEvidence CopyFollower::look(std::span<const std::uint32_t> ids) {
  if (seen_ == 0) seen_ = ids.size();
  for (; seen_ < ids.size(); seen_++) see(ids, seen_);
  first_ = {};
  any_ = true;
  const Repeat repeat = longest_repeat(ids);
  if (following_ && !differs_ && repeat.length <= agreed_) {
    next_ = place_;
    replaces_ = true;
    return {agreed_, true};
  }
  if (following_ && differs_) {
    const Replacement* known = replaced(ids, place_);
    if (known && known->to.length >= changed() && same(ids, known->to.begin, changed_at_, changed())) {
      first_ = {known->to.begin + changed(), known->to.length - changed()};
      next_ = place_ + known->from.length;
      replaces_ = true;
      return {0, true};
    }
    if (repeat.length == 0) {  // an id in place of an id
      next_ = place_ + changed();
      replaces_ = true;
      return {0, true};
    }
  }
  if (repeat.length >= kFollowFrom && !(following_ && differs_ && repeat.length <= changed())) follow(repeat.next, repeat.length);
  any_ = repeat.length > 0;
  next_ = repeat.next;
  replaces_ = repeat.length >= kFollowFrom;
  return {repeat.length, false};
}

void CopyFollower::follow(std::size_t place, std::size_t agreed) {
  following_ = true;
  differs_ = false;
  place_ = place;
  agreed_ = agreed;
}

void CopyFollower::see(std::span<const std::uint32_t> ids, std::size_t at) {
  if (!following_) return;
  if (!differs_ && ids[place_] == ids[at]) {
    agreed(ids);
    return;
  }
  if (!differs_) {
    differs_ = true;
    changed_at_ = at;
  }
  for (std::size_t back = place_; back < std::min(place_ + kLongestSkip, at); back++) {
    if (ids[back] != ids[at]) continue;
    learn(ids, {{place_, back - place_}, {changed_at_, at - changed_at_}});
    follow(back + 1, 1);
    return;
  }
  if (at - changed_at_ >= kLongestChange) following_ = false;
}

// What is copied as it stands is not replaced any more.
void CopyFollower::agreed(std::span<const std::uint32_t> ids) {
  place_++;
  agreed_++;
  for (std::size_t length = 1; length <= std::min(agreed_, kLongestReplaced); length++) forget(ids, {place_ - length, length});
}

void CopyFollower::learn(std::span<const std::uint32_t> ids, Replacement replacement) {
  if (replacement.from.length == 0 || replacement.from.length > kLongestReplaced) return;
  forget(ids, replacement.from);
  replacements_[learned_++ % replacements_.size()] = replacement;
}

void CopyFollower::forget(std::span<const std::uint32_t> ids, Range from) {
  for (Replacement& known : replacements_)
    if (known.from.length == from.length && same(ids, known.from.begin, from.begin, from.length)) known.from.length = 0;
}

// Of several the longest.
const CopyFollower::Replacement* CopyFollower::replaced(std::span<const std::uint32_t> ids, std::size_t at) const {
  const Replacement* longest = nullptr;
  for (const Replacement& known : replacements_)
    if (known.from.length > (longest ? longest->from.length : 0) && at + known.from.length <= ids.size() &&
        same(ids, known.from.begin, at, known.from.length))
      longest = &known;
  return longest;
}

std::size_t CopyFollower::draft(std::span<const std::uint32_t> ids, std::span<std::uint32_t> out) const {
  if (!any_) return 0;
  std::size_t written = 0;
  const auto write = [&](Range range) {
    const std::size_t count = std::min(range.length, out.size() - written);
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(range.begin), count, out.begin() + static_cast<std::ptrdiff_t>(written));
    written += count;
  };
  write(first_);
  for (std::size_t place = next_; written < out.size() && place < ids.size() + written;) {
    if (const Replacement* known = replaces_ ? replaced(ids, place) : nullptr) {
      write(known->to);
      place += known->from.length;
      continue;
    }
    out[written] = place < ids.size() ? ids[place] : out[place - ids.size()];  // a loop goes on as a loop
    written++;
    place++;
  }
  return written;
}

}  // namespace leafcutter::runtime
