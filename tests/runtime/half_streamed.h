// Loads a model so that some of its weights are in memory and some are streamed.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "compress/leaf_reader.h"
#include "offload/host_memory.h"
#include "runtime/model.h"

namespace leafcutter::testing {

// A model with a part of its weights in memory and a part streamed. The budget for that is found by planning with what is charged now; a load may find more charged, and is tried again. Other errors of
// loading pass through.
inline std::unique_ptr<runtime::Model> load_half(const std::string& path, runtime::LoadOptions options) {
  const compress::LeafIndex index = compress::read_leaf_index(*open_file(path));
  for (int attempt = 0; attempt < 80; attempt++) {
    constexpr std::uint64_t kStep = 1 << 16;
    offload::Plan plan;
    for (options.memory = SizeText{.bytes = offload::charged_bytes()};
         plan.resident_bytes == 0 || plan.resident_bytes < plan.streamed_bytes; options.memory->bytes += kStep) {
      try {
        plan = runtime::plan_model(index, options, offload::host_memory(), offload::charged_bytes(), nullptr).plan;
      } catch (const Error& e) { REQUIRE(e.kind() == ErrorKind::out_of_budget); }
    }
    // What is charged differs by some hundred KiB from one load to the next, either way: a little more, a little less, and wider each time.
    const std::uint64_t off = static_cast<std::uint64_t>(attempt + 1) / 2 * (kStep / 4);
    options.memory->bytes = attempt % 2 == 1 ? options.memory->bytes + off : options.memory->bytes - std::min(off, options.memory->bytes);
    try {
      auto model = runtime::Model::load(path, options);
      if (model->plan().resident_bytes > 0 && !model->plan().streamed.empty()) return model;
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::out_of_budget) throw;
    }
  }
  FAIL("no budget keeps a part of the weights");
  return nullptr;
}

}  // namespace leafcutter::testing
