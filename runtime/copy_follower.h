// Drafts from a text that is copied with changes: code with a name replaced, a table in another notation, a text corrected. A repeat (lookup.h) ends at each change and has to be found anew behind it;
// the follower knows where in the source it was, goes on behind the change, and expects what was replaced there to be replaced again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace leafcutter::runtime {

// What was agreed on before what is proposed.
struct CopyEvidence {
  std::size_t length = 0;  // ids that agreed: of the repeat, or since the copy last differed; 0 with followed: it has just differed
  bool followed = false;   // a copy is followed, otherwise it is a repeat
  bool any() const { return followed || length > 0; }
};

// Of one text, which only grows. Allocates nothing; a look takes a walk through the text. Not thread-safe.
class CopyFollower {
 public:
  // Takes in what `ids` has more than at the last look, and decides how it may go on. The first look takes all as given.
  CopyEvidence look(std::span<const std::uint32_t> ids);
  // How it may go on, by the last look, which was at the same ids; writes to the front of `out` and says how many.
  std::size_t draft(std::span<const std::uint32_t> ids, std::span<std::uint32_t> out) const;

 private:
  struct Range {
    std::size_t begin = 0, length = 0;
  };
  // What stood in a source and what came in its place, as ranges of the text.
  struct Replacement {
    Range from, to;
  };

  void see(std::span<const std::uint32_t> ids, std::size_t at);
  void agreed(std::span<const std::uint32_t> ids);
  void learn(std::span<const std::uint32_t> ids, Replacement replacement);
  void forget(std::span<const std::uint32_t> ids, Range from);
  const Replacement* replaced(std::span<const std::uint32_t> ids, std::size_t at) const;
  std::size_t changed() const { return seen_ - changed_at_; }
  void follow(std::size_t place, std::size_t agreed);

  std::size_t seen_ = 0;
  bool following_ = false;
  std::size_t place_ = 0;   // in the source: what comes next, or, where the text differs now, where it began to
  std::size_t agreed_ = 0;  // ids since it last differed
  bool differs_ = false;    // since changed_at_ of the text
  std::size_t changed_at_ = 0;
  std::array<Replacement, 32> replacements_{};  // the last ones learned; empty `from`: none
  std::size_t learned_ = 0;

  // By the last look: the rest of this range, then on from this place; replacements only where a copy is followed.
  Range first_{};
  std::size_t next_ = 0;
  bool replaces_ = false, any_ = false;
};

}  // namespace leafcutter::runtime
