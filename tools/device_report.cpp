#include "tools/device_report.h"

#include <fmt/format.h>

#include "base/size_text.h"

namespace leafcutter::tools {
namespace {

using offload::CardCandidate;
using offload::CardStepTime;

std::string step_line(const char* name, const CardStepTime& time) {
  return fmt::format(
      "  {:8} {:>9.4f} s, limited by {}: link {:.4f}, device {:.4f}, host {:.4f}, disk {:.4f}; the card waits for the link {:.4f}, the "
      "host "
      "{:.4f}, the disk {:.4f}\n",
      name, time.seconds, time.limit(), time.link, time.card, time.host, time.disk, time.wait_link, time.wait_host, time.wait_disk);
}

}  // namespace

std::string device_plan_text(const offload::DevicePlan& plan) {
  std::string text;
  const auto row = [&](const char* name, std::uint64_t bytes) { text += fmt::format("  {:34} {:>10}\n", name, format_bytes(bytes)); };
  row("device: budget", plan.device_budget);
  row("  driver's context and margin", plan.context_bytes + plan.device_margin);
  row("  KV cache", plan.device_kv_bytes);
  row("  workspace, logits, norms", plan.device_buffer_bytes);
  row("  ring for copies", plan.device_ring_bytes);
  row("  weights that stay", plan.device_resident_bytes);
  row("  predicted peak", plan.device_total);
  row("host: budget", plan.host_budget);
  row("  process and margin", plan.host_fixed_bytes);
  row("  KV cache", plan.host_kv_bytes);
  row("  workspace, logits, norms", plan.host_buffer_bytes);
  row("  ring of chunks from disk", plan.host_ring_bytes);
  row("  weights that stay", plan.host_resident_bytes);
  row("  table of embeddings", plan.table_bytes);
  row("  page tables", plan.page_table_bytes);
  row("  predicted peak", plan.host_total);
  row("disk: read in each step", plan.streamed_bytes);
  return text;
}

std::string device_prediction_text(const offload::CardPrediction& prediction, std::uint64_t batch) {
  const CardCandidate& best = prediction.best();
  std::string text = step_line("a step", best.decode) + step_line("a pass", best.prefill);
  if (best.plan.host_resident_bytes == 0 && best.plan.streamed_bytes == 0)
    text += "all weights are on the card, so that the strategies do not differ:\n";
  for (const CardCandidate& c : prediction.strategies)
    text += fmt::format(
        "  {:13} {:>8.2f} tok/s, prompt {:>6.2f} s; of what is not on the card the host computes {:.0f} % (prompt {:.0f} %){}\n",
        c.strategy, static_cast<double>(batch) * c.tokens_per_s(), c.prompt_seconds, 100 * c.host_share, 100 * c.prefill_host_share,
        &c == &best ? "  <- chosen" : "");
  return text;
}

}  // namespace leafcutter::tools
