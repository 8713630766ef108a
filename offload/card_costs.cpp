#include "offload/card_costs.h"

#include <algorithm>

namespace leafcutter::offload {
namespace {

constexpr double kSecondsPerLogit = 1e-9;
// On the host a vector of f32 is a quarter of one of int8, and a multiply-add one instruction where int8 takes about two.
constexpr double kF32OverInt8 = 2;

}  // namespace

double card_seconds(const CardWork& work, const Card& card) {
  return std::max(work.bytes / card.usable_dram(), work.int8_operations / card.usable_int8() + work.f32_operations / card.usable_f32());
}

double host_product_seconds(const CardWork& work, const CardHost& host) {
  return std::max(work.bytes / std::min(host.product_bytes_per_s, host.dram_bytes_per_s),
                  (work.int8_operations + kF32OverInt8 * work.f32_operations) / host.int8_ops_per_s);
}

double host_attention_seconds(double kv_bytes, double operations, const CardHost& host) {
  return std::max(kv_bytes / host.dram_bytes_per_s, operations / host.attention_ops_per_s);
}

double sampling_seconds(std::uint64_t logits) { return static_cast<double>(logits) * kSecondsPerLogit; }

}  // namespace leafcutter::offload
