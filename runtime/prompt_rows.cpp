#include "runtime/prompt_rows.h"

#include "base/error.h"

namespace leafcutter::runtime {
namespace {

constexpr std::uint8_t kSlotSegment = 0, kTextSegment = 2;

bool has_segments(const compress::ModelDescription& model) { return model.position == compress::PositionKind::segment_relative_bias; }

}  // namespace

std::uint64_t prompt_slots(const compress::ModelDescription& model) { return has_segments(model) ? model.segment_bias.prompt_length : 0; }

std::vector<StepRow> slot_rows(const Model& model, std::uint32_t task, std::uint32_t sequence) {
  const compress::ModelDescription& description = model.index().model;
  std::vector<StepRow> rows;
  if (!has_segments(description)) return rows;
  const compress::SegmentBiasDescription& bias = description.segment_bias;
  if (task >= bias.prompt_types)
    throw Error(ErrorKind::usage, "--task " + std::to_string(task), "the model has tasks 0 to " + std::to_string(bias.prompt_types - 1));
  for (std::uint32_t i = 0; i < bias.prompt_length; i++) {
    StepRow row{task * bias.prompt_length + i, i, sequence, false};
    row.context = row.prompt_slot = true;
    row.segment = kSlotSegment;
    rows.push_back(row);
  }
  return rows;
}

StepRow text_row(const Model& model, std::uint32_t id, std::uint64_t position, std::uint32_t sequence, bool wants_logits) {
  StepRow row{id, position, sequence, wants_logits};
  if (has_segments(model.index().model)) row.segment = kTextSegment;
  return row;
}

std::vector<StepRow> prompt_rows(const Model& model, std::span<const std::uint32_t> prompt, std::uint32_t task, std::uint32_t sequence) {
  const std::uint64_t cached = model.cached_positions(sequence);
  std::vector<StepRow> rows;
  if (cached == 0) rows = slot_rows(model, task, sequence);
  const bool context = cached == 0 && has_segments(model.index().model);
  rows.reserve(rows.size() + prompt.size());
  for (std::size_t i = 0; i < prompt.size(); i++) {
    rows.push_back(text_row(model, prompt[i], cached + rows.size(), sequence, i + 1 == prompt.size()));
    rows.back().context = context;
  }
  return rows;
}

}  // namespace leafcutter::runtime
