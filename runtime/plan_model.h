// What plan_model counts and LoadedModel allocates alike.
#pragma once

#include "runtime/kv_cache.h"
#include "runtime/model.h"

namespace leafcutter::runtime {

// Forked sequences may be one position longer: a search looks at the token behind the last one.
inline KvShape kv_shape(std::uint64_t ctx_size, const LoadOptions& options) {
  if (!options.forked_positions) return {ctx_size * options.sequences, ctx_size, options.sequences};
  return {ctx_size + *options.forked_positions, ctx_size + 1, options.sequences};
}

}  // namespace leafcutter::runtime
