// BMInf's schedule on the simulator that our plans are predicted with, against what was published of it.
#include "tests/support/bminf.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace leafcutter;
using namespace leafcutter::offload;

namespace {

// CPM2 with 11 billion weights: 24 layers in the encoder and in the decoder, INT8.
constexpr std::size_t kLayers = 24;
constexpr double kEncoderLayer = 192.9e6, kDecoderLayer = 260.0e6;
// With 5.1 GiB free its rules give 19 slots: 17 layers that stay and two buffers, 31 streamed, of them a third (10) from the decoder.
constexpr std::size_t kStreamedDecoder = 10, kStreamedEncoder = 21;
constexpr double kInt8Share = 0.5;                                  // of the peak, assumed of its products
constexpr double kPublishedEncoder = 718, kPublishedDecoder = 4.4;  // tokens a second on a GTX 1060, prompt of 256

// A link that makes the encoder as fast as was published.
Card card_fitted_to_the_encoder() {
  Card card = find_card("gtx1060-6gb");
  card.link_bytes_per_s = static_cast<double>(kStreamedEncoder) * kEncoderLayer / (256 / kPublishedEncoder);
  return card;
}

}  // namespace

TEST_CASE("a link fitted to BMInf's published encoder rate predicts its published decoder rate") {
  const Card card = card_fitted_to_the_encoder();
  CHECK(std::abs(card.link_bytes_per_s / find_card("gtx1060-6gb").link_bytes_per_s - 1) < 0.01);
  const CardHost& host = find_card_host("desktop-ddr4");
  const double encoder_kernel = kEncoderLayer * 2 * 256 / (kInt8Share * card.int8_ops_per_s());
  const double encoder =
      256 / simulate_card(test::bminf_step(kLayers, kStreamedEncoder, kEncoderLayer, encoder_kernel), card, host, 0, 1).seconds;
  CHECK(std::abs(encoder / kPublishedEncoder - 1) < 0.1);
  const CardStepTime step =
      simulate_card(test::bminf_step(kLayers, kStreamedDecoder, kDecoderLayer, kDecoderLayer / card.usable_dram()), card, host, 1, 4);
  MESSAGE("encoder ", encoder, " tokens/s, published 718; decoder ", 1 / step.seconds, ", published 4.4");
  CHECK(std::abs(1 / step.seconds / kPublishedDecoder - 1) < 0.1);
}
