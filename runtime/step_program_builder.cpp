#include "runtime/step_program_builder.h"

#include <algorithm>

namespace leafcutter::runtime {

using compress::ModuleKind;

offload::StepProgram step_program(const compress::LeafIndex& index, std::uint64_t rows, std::uint64_t positions, std::uint64_t logit_rows,
                                  kernels::KvType kv_type) {
  offload::StepProgram program;
  program.rows = rows;
  program.kv_type = kv_type;
  for (std::uint32_t m = 0; m < index.modules.size(); m++) {
    const compress::ModuleEntry& module = index.modules[m];
    const bool is_head = module.kind == ModuleKind::head || (module.kind == ModuleKind::embedding && index.model.tied_head);
    if (module.kind == ModuleKind::vectors || (module.kind == ModuleKind::embedding && !is_head)) continue;
    const std::uint64_t module_rows = is_head ? logit_rows : rows;
    if (module_rows == 0) continue;
    offload::StepModule step;
    step.module = m;
    step.rows = module_rows;
    // Norm (read, write), quantizing or copying (read), sum (two read, one written): about six times the width; activations four times theirs.
    step.row_bytes = module_rows * 6 * index.model.dim * sizeof(float);
    if (module.kind == ModuleKind::attention) {
      const compress::LayerDescription& layer = index.model.layers[module.layer];
      step.kv_bytes = 2 * std::uint64_t{layer.kv_heads} * kernels::kv_row_bytes(kv_type, layer.head_dim) * positions;
      // Rows of a prompt see all of each other in CPM-Ant, half elsewhere; there each score has a bias, too.
      const bool bidirectional = index.model.position == compress::PositionKind::segment_relative_bias;
      const std::uint64_t seen = bidirectional ? positions : positions - rows / 2;
      step.most_keys = positions;
      step.heads_a_key = std::max<std::uint64_t>(1, layer.heads / std::max<std::uint64_t>(1, layer.kv_heads));
      step.all_keys = rows * seen;
      step.attention_operations = std::uint64_t{layer.heads} * (4 * layer.head_dim + bidirectional) * step.all_keys;
      step.row_bytes += rows * 4 * std::uint64_t{layer.heads} * layer.head_dim * sizeof(float);
    } else if (module.kind == ModuleKind::feed_forward) {
      step.row_bytes += rows * 4 * std::uint64_t{index.model.layers[module.layer].ff_width} * sizeof(float);
    }
    program.modules.push_back(step);
  }
  // The tied head stands first in the file and comes last in a step.
  if (index.model.tied_head && logit_rows > 0 && !program.modules.empty()) {
    program.modules.push_back(program.modules.front());
    program.modules.erase(program.modules.begin());
  }
  return program;
}

}  // namespace leafcutter::runtime
