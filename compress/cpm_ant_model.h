// CPM-Ant's configuration and tensors to a checkpoint that can be compressed: which parts exist, their true shapes, columns of the position bias, divisors. Facts in, facts out;
// of the weights only a head that may equal the embedding is read.
#pragma once

#include <optional>
#include <string>

#include "compress/checkpoint_source.h"
#include "compress/cpm_ant_config.h"
#include "compress/cpm_ant_pruning.h"
#include "compress/weight_files.h"

namespace leafcutter::compress {

struct CpmAntCheckpoint {
  CpmAntConfig config;
  ListedWeights weights;
  std::optional<CpmAntSideFile> side;
  std::optional<CpmAntMasks> masks;
};

// `place` names the checkpoint in messages. Divisors follow CPM-Live: the root of the inputs that a matrix has; `uncut_divisors`: that it had before BMCook cut it, as while it was
// trained. The model has neither name nor source yet. Throws Error(bad_file | unsupported) naming file and tensor: unknown, missing or misshapen ones, heads whose
// columns of the position bias nothing tells.
CheckpointSource cpm_ant_source(CpmAntCheckpoint checkpoint, bool uncut_divisors, const std::string& place);

}  // namespace leafcutter::compress
