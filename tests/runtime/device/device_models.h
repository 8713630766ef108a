// Models whose steps run on a device, compared with the same model on the CPU.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "compress/leaf_reader.h"
#include "offload/host_memory.h"
#include "runtime/model.h"
#include "runtime/plan_on_device.h"
#include "tests/support/checked_device.h"

namespace leafcutter::testing {

// Logits of a prompt that comes in pieces, if they are wanted, and of some tokens behind it, one by one. context: the prompt's rows see each other, and come at once.
inline std::vector<float> walk(runtime::Model& model, std::size_t prompt, std::size_t piece, std::size_t tokens, bool context,
                               bool of_prompt = true) {
  model.truncate(0, 0);
  const std::size_t vocabulary = model.index().model.vocab_size, quiet = of_prompt ? 0 : prompt;
  std::vector<float> logits((prompt + tokens - quiet) * vocabulary);
  std::vector<runtime::StepRow> rows;
  for (std::size_t begin = 0; begin < prompt + tokens; begin += rows.size()) {
    const std::size_t end = begin >= prompt ? begin + 1 : context ? prompt : std::min(prompt, begin + piece);
    rows.clear();
    for (std::size_t i = begin; i < end; i++) {
      runtime::StepRow row{static_cast<std::uint32_t>((i * 37 + 11) % vocabulary), i, 0, i >= quiet, context && i < prompt};
      if (context) row.segment = static_cast<std::uint8_t>(i % 2);
      rows.push_back(row);
    }
    model.step(rows, std::span(logits).subspan((std::max(begin, quiet) - quiet) * vocabulary));
  }
  return logits;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// With a host budget of what is charged now and `more`; none where that is refused.
inline std::unique_ptr<runtime::Model> load_with(const std::string& path, runtime::LoadOptions options, std::uint64_t more) {
  options.memory = SizeText{.bytes = offload::charged_bytes() + more};
  try {
    return runtime::Model::load(path, options);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::out_of_budget) throw;
    return nullptr;
  }
}

// Each chunk that is not on the device: anything from all the device's to all the host's, in decode and in prefill.
inline std::function<void(offload::DevicePlan&)> random_sides(const compress::LeafIndex& index, std::uint64_t seed) {
  return [&index, seed](offload::DevicePlan& plan) {
    std::mt19937_64 random(seed);
    const auto all = offload::with_host_share(index, plan, 1);
    for (std::size_t c = 0; c < all.host_strips.size(); c++) {
      const std::uint32_t most = all.host_strips[c];
      if (most == 0) continue;
      for (offload::Sides* sides : {&plan.decode, &plan.prefill}) {
        const auto kind = random() % 3;
        sides->host_strips[c] = kind == 0 ? 0 : kind == 1 ? most : static_cast<std::uint32_t>(random() % (most + 1));
      }
    }
  };
}

inline constexpr std::uint64_t kMiB = 1 << 20;

// A model file, what its CPU run gives, and how it is loaded.
struct DeviceCase {
  std::string path;
  compress::LeafIndex index;
  bool context;
  std::vector<float> want;
  runtime::LoadOptions options;
  double link_bytes_per_s = 4e9;                                  // the fastest link that is played
  std::uint64_t device_range = 8 * kMiB, host_range = 12 * kMiB;  // of the budgets that are tried

  DeviceCase(std::string the_path, bool is_context, kernels::KvType kv_type)
      : path(std::move(the_path)), index(compress::read_leaf_index(*open_file(path))), context(is_context) {
    options.threads = 2;
    options.ctx_size = 48;
    options.logit_rows = kPrompt;
    options.without_tokenizer = true;
    options.kv_type = kv_type;
    want = walk(*runtime::Model::load(path, options), kPrompt, kPrompt, kTokens, context);
    find_least_device();
  }

  // Device memory with which a plan is just made, and what the keys of all layers take beyond it: in between some layers have theirs in host memory.
  std::uint64_t least_device = 0, keys = 0;

  static constexpr std::size_t kPrompt = 17, kTokens = 5;

 private:
  void find_least_device() {
    runtime::LoadOptions planned = options;
    planned.device = std::make_shared<offload::test::CheckedDevice>(offload::test::CheckedDevice::Options{});
    std::uint64_t refused = 0;
    least_device = 64 * kMiB;
    while (least_device - refused > 1) {
      planned.device_memory = (least_device + refused) / 2;
      try {
        keys = std::max(keys, runtime::plan_on_device(index, planned, offload::host_memory(), 0, nullptr).placement.device_kv_bytes);
        least_device = *planned.device_memory;
      } catch (const Error&) { refused = *planned.device_memory; }
    }
  }
};

}  // namespace leafcutter::testing
