#include "tests/support/ptx/control_flow.h"

#include <algorithm>

namespace leafcutter::ptx {
namespace {

constexpr std::size_t kUnknown = ~std::size_t{0};

// Node code.size() is the end.
std::vector<std::size_t> successors_of(const std::vector<Instruction>& code, std::size_t at) {
  const Instruction& i = code[at];
  std::vector<std::size_t> next;
  if (i.kind == Kind::branch) next.push_back(i.target);
  if (i.kind == Kind::exit) next.push_back(code.size());
  if ((i.kind != Kind::branch && i.kind != Kind::exit) || i.predicate != kNoSlot) next.push_back(at + 1);
  return next;
}

}  // namespace

// Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm", on the graph with its edges turned round.
void find_meetings(std::vector<Instruction>& code) {
  const std::size_t end = code.size();
  std::vector<std::vector<std::size_t>> successors(end), predecessors(end + 1);
  for (std::size_t at = 0; at < end; at++) {
    successors[at] = successors_of(code, at);
    for (const std::size_t next : successors[at]) predecessors[next].push_back(at);
  }
  // Order of a walk from the end: a node is numbered after all that is reached through it.
  std::vector<std::size_t> number(end + 1, kUnknown), order;
  std::vector<std::pair<std::size_t, std::size_t>> walk{{end, 0}};
  std::vector<bool> seen(end + 1);
  seen[end] = true;
  while (!walk.empty()) {
    auto& [node, child] = walk.back();
    if (child < predecessors[node].size()) {
      const std::size_t next = predecessors[node][child++];
      if (!seen[next]) {
        seen[next] = true;
        walk.emplace_back(next, 0);
      }
    } else {
      number[node] = order.size();
      order.push_back(node);
      walk.pop_back();
    }
  }
  std::vector<std::size_t> meeting(end + 1, kUnknown);
  meeting[end] = end;
  const auto common = [&](std::size_t a, std::size_t b) {
    while (a != b) {
      while (number[a] < number[b]) a = meeting[a];
      while (number[b] < number[a]) b = meeting[b];
    }
    return a;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (auto node = order.rbegin(); node != order.rend(); ++node) {
      if (*node == end) continue;
      std::size_t found = kUnknown;
      for (const std::size_t next : successors[*node])
        if (meeting[next] != kUnknown) found = found == kUnknown ? next : common(found, next);
      changed |= meeting[*node] != found;
      meeting[*node] = found;
    }
  }
  for (std::size_t at = 0; at < end; at++)
    if (code[at].kind == Kind::branch) code[at].meeting = meeting[at] == kUnknown ? end : meeting[at];  // unknown: a loop without end
}

}  // namespace leafcutter::ptx
