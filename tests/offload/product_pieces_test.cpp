#include "offload/product_pieces.h"

#include <doctest/doctest.h>

using namespace leafcutter::offload;

TEST_CASE("pieces of a product are enough for all threads to end together, and neither small nor large") {
  CHECK(piece_bytes(2 << 20, 2) == 256 << 10);
  CHECK(piece_bytes(0, 1) == kLeastPieceBytes);
  CHECK(piece_bytes(1 << 20, 2) == kLeastPieceBytes);
  CHECK(piece_bytes(4 << 20, 64) == kLeastPieceBytes);
  CHECK(piece_bytes(std::uint64_t{1} << 40, 1) == kMostPieceBytes);
}
