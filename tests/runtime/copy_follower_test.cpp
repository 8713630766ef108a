#include "runtime/copy_follower.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "runtime/lookup.h"

using namespace leafcutter::runtime;

namespace {

using Ids = std::vector<std::uint32_t>;

// What is drafted behind `text`, of which `given` was there at the first look and the rest came id by id.
Ids drafts(const Ids& text, std::size_t given, std::size_t count) {
  CopyFollower follower;
  for (std::size_t known = given; known < text.size(); known++) follower.look(std::span(text).first(known));
  follower.look(text);
  Ids out(count);
  out.resize(follower.draft(text, out));
  return out;
}

Ids joined(std::initializer_list<Ids> parts) {
  Ids all;
  for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Ids range(std::uint32_t first, std::uint32_t last) {
  Ids ids;
  for (std::uint32_t id = first; id <= last; id++) ids.push_back(id);
  return ids;
}

// `from` wherever it stands becomes `to`.
Ids with_replaced(const Ids& text, const Ids& from, const Ids& to) {
  Ids out;
  for (std::size_t i = 0; i < text.size();) {
    if (i + from.size() <= text.size() && std::equal(from.begin(), from.end(), text.begin() + static_cast<std::ptrdiff_t>(i))) {
      out.insert(out.end(), to.begin(), to.end());
      i += from.size();
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

template <class Draft>
std::size_t steps_of(const Ids& text, std::size_t given, Draft draft) {
  std::size_t steps = 0;
  for (std::size_t at = given; at < text.size(); steps++) {
    const Ids drafted = draft(std::span(text).first(at));
    const std::size_t most = std::min(drafted.size(), text.size() - at - 1);
    std::size_t right = 0;
    while (right < most && drafted[right] == text[at + right]) right++;
    at += right + 1;
  }
  return steps;
}

constexpr std::size_t kDrafts = 15;

std::size_t steps_of_follower(const Ids& text, std::size_t given) {
  CopyFollower follower;
  return steps_of(text, given, [&](std::span<const std::uint32_t> ids) {
    follower.look(ids);
    Ids out(kDrafts);
    out.resize(follower.draft(ids, out));
    return out;
  });
}

std::size_t steps_of_repeats(const Ids& text, std::size_t given) {
  return steps_of(text, given, [](std::span<const std::uint32_t> ids) {
    const Repeat repeat = longest_repeat(ids);
    Ids out;
    for (std::size_t i = 0; repeat.length > 0 && i < kDrafts; i++)
      out.push_back(repeat.next + i < ids.size() ? ids[repeat.next + i] : out[repeat.next + i - ids.size()]);
    return out;
  });
}

}  // namespace

TEST_CASE("drafts go on as the text went on, and a loop goes on as a loop") {
  for (const std::size_t given : {1, 4, 100}) {
    CAPTURE(given);
    CHECK(drafts({1, 2, 3, 4, 5, 9, 2, 3}, given, 3) == Ids{4, 5, 9});
    CHECK(drafts({1, 2, 3, 7, 2, 3, 8, 2, 3}, given, 4) == Ids{8, 2, 3, 8});  // the later place; past the end it reads what it wrote
    CHECK(drafts({4, 1, 2, 1, 2}, given, 5) == Ids{1, 2, 1, 2, 1});
    CHECK(drafts({6, 6}, given, 4) == Ids{6, 6, 6, 6});
    CHECK(drafts({1, 2, 3, 4}, given, 4).empty());
    CHECK(drafts({5}, given, 4).empty());
    CHECK(drafts({}, given, 4).empty());
  }
}

TEST_CASE("a look that nothing was drafted after, and no room for drafts, give none") {
  CopyFollower follower;
  Ids out(4);
  CHECK(follower.draft({}, out) == 0);
  CHECK_FALSE(follower.look(Ids{1, 2}).any());
  CHECK(follower.look(Ids{1, 2, 1}).any());
  CHECK(follower.draft(Ids{1, 2, 1}, {}) == 0);
}

TEST_CASE("behind a change a copy goes on where the source goes on") {
  const Ids source = range(1, 30);
  SUBCASE("one id in place of one") { CHECK(drafts(joined({source, range(1, 5), {90}}), 30, 4) == Ids{7, 8, 9, 10}); }
  SUBCASE("two in place of one: found again by the id behind it") {
    CHECK(drafts(joined({source, range(1, 5), {90, 91, 7}}), 30, 4) == Ids{8, 9, 10, 11});
  }
  SUBCASE("something put in") { CHECK(drafts(joined({source, range(1, 5), {90, 91, 6}}), 30, 4) == Ids{7, 8, 9, 10}); }
  SUBCASE("something left out") { CHECK(drafts(joined({source, range(1, 5), {10}}), 30, 4) == Ids{11, 12, 13, 14}); }
  SUBCASE("too much left out: another place in the source is found by its ids") {
    CHECK(drafts(joined({source, range(1, 5), {20, 21}}), 30, 4) == Ids{22, 23, 24, 25});
  }
  SUBCASE("the text turns to something else: nothing is proposed that the source would say") {
    CHECK(drafts(joined({source, range(1, 5), range(90, 110)}), 30, 4).empty());
  }
}

TEST_CASE("the evidence counts ids since the copy last differed") {
  const Ids text = joined({range(1, 30), range(1, 5), {90}, range(7, 9)});
  CopyFollower follower;
  const auto evidence_at = [&](std::size_t known) { return follower.look(std::span(text).first(known)); };
  CHECK_FALSE(evidence_at(30).any());
  CHECK(evidence_at(32).length == 2);  // a repeat, which is taken for a copy
  CHECK(evidence_at(35).length == 5);
  CHECK(evidence_at(35).followed);
  CHECK(evidence_at(36).length == 0);
  CHECK(evidence_at(36).followed);
  CHECK(evidence_at(37).length == 1);
  CHECK(evidence_at(39).length == 3);
}

TEST_CASE("what was replaced once is drafted replaced, within drafts as well, until it stands there again") {
  const std::uint32_t name = 50;
  const Ids source = joined({range(1, 4), {name}, range(5, 8), {name}, range(9, 12), {name}, range(13, 20)});
  const Ids start = joined({source, range(1, 4)});
  SUBCASE("by two ids") {
    const Ids text = joined({start, {60, 61, 5}});
    CHECK(drafts(text, source.size(), 12) == Ids{6, 7, 8, 60, 61, 9, 10, 11, 12, 60, 61, 13});
    CHECK(drafts(text, source.size(), 4) == Ids{6, 7, 8, 60});                         // cut within a replacement
    CHECK(drafts(joined({text, {6, 7, 8, 60}}), source.size(), 3) == Ids{61, 9, 10});  // and gone on with there
  }
  SUBCASE("by nothing") { CHECK(drafts(joined({start, {5}}), source.size(), 8) == Ids{6, 7, 8, 9, 10, 11, 12, 13}); }
  SUBCASE("kept the second time") {
    CHECK(drafts(joined({start, {60, 61}, range(5, 8), {name}}), source.size(), 6) == Ids{9, 10, 11, 12, name, 13});
  }
  SUBCASE("replaced by something else the second time") {
    CHECK(drafts(joined({start, {60, 61}, range(5, 8), {70, 9}}), source.size(), 5) == Ids{10, 11, 12, 70, 13});
  }
  SUBCASE("a part of several ids is replaced as a whole") {
    const Ids two = joined({range(1, 4), {name, 51}, range(5, 8), {name, 51}, range(9, 20)});
    CHECK(drafts(joined({two, range(1, 4), {60, 5}}), two.size(), 6) == Ids{6, 7, 8, 60, 9, 10});
  }
}

TEST_CASE("more replacements than are kept: the last ones are") {
  Ids source, changed;
  for (std::uint32_t i = 0; i < 100; i++) {
    for (Ids* text : {&source, &changed}) text->insert(text->end(), {1000 + 3 * i, 1001 + 3 * i});
    source.push_back(i);
    changed.push_back(500 + i);
  }
  const Ids again = joined({{5000, 5001}, {99, 5002}, {0, 5003}, {5004}});  // the last one learned, and the first
  const Ids text = joined({source, again, changed, {5000, 5001}});
  CHECK(drafts(text, source.size() + again.size(), 5) == Ids{599, 5002, 0, 5003, 5004});
}

TEST_CASE("a text copied with names replaced takes half the steps that repeats alone take") {
  std::mt19937 random(3);
  std::size_t followed = 0, repeats = 0;
  for (int round = 0; round < 50; round++) {
    Ids source(200);
    for (std::uint32_t& id : source) id = 100 + random() % 60;
    for (std::size_t i = 0; i < source.size(); i += 9 + random() % 9) source[i] = 1 + random() % 2;
    const Ids text = joined({source, {99}, with_replaced(with_replaced(source, {1}, {7, 8}), {2}, {9})});
    followed += steps_of_follower(text, source.size() + 1);
    repeats += steps_of_repeats(text, source.size() + 1);
  }
  CHECK(2 * followed < repeats);
}

TEST_CASE("any text: ids that stand in it, never more than asked for, and a plain copy as fast as by repeats") {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; round++) {
    Ids text(random() % 120);
    const std::uint32_t alphabet = 1 + random() % 30;
    for (std::uint32_t& id : text) id = random() % alphabet;
    if (text.size() > 60)  // a copy with changes
      for (std::size_t i = text.size() / 2; i < text.size(); i++)
        if (random() % 5 > 0) text[i] = text[i - text.size() / 2];
    CopyFollower follower;
    for (std::size_t known = text.empty() ? 0 : random() % text.size(); known <= text.size(); known += 1 + random() % 4) {
      const auto ids = std::span(text).first(known);
      const CopyEvidence evidence = follower.look(ids);
      Ids out(1 + random() % kDrafts, ~0u);
      const std::size_t count = follower.draft(ids, out);
      REQUIRE(count <= out.size());
      REQUIRE((count == 0 || evidence.any()));
      for (std::size_t i = 0; i < out.size(); i++)
        REQUIRE((i < count ? std::find(ids.begin(), ids.end(), out[i]) != ids.end() : out[i] == ~0u));
    }
  }
  const Ids copy = joined({range(1, 90), range(1, 90)});
  CHECK(steps_of_follower(copy, 90) <= steps_of_repeats(copy, 90));
}
