// Sharing work that goes row by row among threads, where it pays.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/thread_team.h"

namespace leafcutter::runtime {

constexpr std::size_t kRowsInParallel = 4;  // fewer rows are not worth waking a thread for norms and the like

// Calls work(first row, past the last row, thread) for blocks of rows.
template <class Work>
void by_rows(ThreadTeam& team, std::size_t rows, std::size_t rows_a_piece, Work&& work) {
  if (rows < kRowsInParallel) return work(std::size_t{0}, rows, std::size_t{0});
  const std::size_t pieces = (rows + rows_a_piece - 1) / rows_a_piece;
  team.run(pieces,
           [&](std::size_t piece, std::size_t thread) { work(piece * rows_a_piece, std::min(rows, (piece + 1) * rows_a_piece), thread); });
}

}  // namespace leafcutter::runtime
