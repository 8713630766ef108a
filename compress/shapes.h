// Shapes of known models by name, and models of such a shape with random weights.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/thread_team.h"
#include "compress/compress_model.h"

namespace leafcutter::compress {

std::span<const char* const> shape_names();
std::optional<ModelDescription> find_shape(const std::string& name);

// What write_leaf and lay_out_leaf take for a description without a source.
std::vector<TensorPlan> plan_tensors(const ModelDescription& model, const FormatChoice& formats);

// Random weights with sane scales, the same bytes for the same seed: matrices uniform with a standard deviation of 0.02, CPM-Ant's of 1 under
// their divisors (those that add to the residual stream divided by sqrt(2 layers)), norms 1, position biases uniform from -1 to 1.
// No tokenizer inside.
void synthesize_model(const ModelDescription& model, const FormatChoice& formats, std::uint64_t seed, const LeafWriterOptions& options,
                      NewFile& file, ThreadTeam& team, const WriteProgress& progress);

}  // namespace leafcutter::compress
