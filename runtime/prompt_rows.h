// A prompt as rows of a step. LLaMA: its ids. CPM-Ant: the prompt slots of a task, then the text, all of it context; what is generated are targets, which see all that lies before them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model.h"

namespace leafcutter::runtime {

constexpr std::uint32_t kTextTask = 2;  // CPM-Ant's prompt for text generation

// Positions in front of a text.
std::uint64_t prompt_slots(const compress::ModelDescription& model);

// The prompt slots of a task, from position 0; none for LLaMA. Throws Error(usage) for a task that the model has not.
std::vector<StepRow> slot_rows(const Model& model, std::uint32_t task, std::uint32_t sequence = 0);

// A token of a text or of an answer.
StepRow text_row(const Model& model, std::uint32_t id, std::uint64_t position, std::uint32_t sequence, bool wants_logits);

// What follows the sequence's cached positions; an empty cache gets the slots first. The last row wants logits.
std::vector<StepRow> prompt_rows(const Model& model, std::span<const std::uint32_t> prompt, std::uint32_t task, std::uint32_t sequence = 0);

}  // namespace leafcutter::runtime
