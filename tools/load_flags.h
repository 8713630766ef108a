// Flags that run, eval, bench and plan share: memory, threads, context, KV type, device.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "offload/prediction.h"
#include "runtime/model.h"

namespace leafcutter::tools {

struct LoadFlags {
  std::optional<SizeText> memory;
  std::size_t threads = 0;
  std::uint64_t ctx_size = 0;
  std::optional<kernels::KvType> kv_type;
  std::string device = "auto";
  std::string io = "auto";
  std::size_t io_depth = 0;
  std::optional<std::size_t> io_size;
  std::optional<std::uint64_t> disk_rate;    // --link disk=RATE, bytes a second
  std::optional<std::uint64_t> device_rate;  // --link device=RATE
  std::optional<SizeText> device_memory;
  std::string card;  // whose memory, link and copy engines an emulated device has

  // With --link, the disk's rate is that of the link.
  void apply_link(offload::HostRates& rates) const;

  // For a model in this file (empty: nowhere); reads are done as its disk wants them, where that is known and no flag says otherwise.
  // Throws Error(unsupported) for a device that this build has not.
  runtime::LoadOptions options(const std::string& file) const;
};

void add_load_flags(CLI::App& app, LoadFlags& flags);
// Of commands that may compute on an emulated device: --device-memory, --card.
void add_device_flags(CLI::App& app, LoadFlags& flags);

// A size as a CLI11 check and conversion: refused while parsing.
void add_size_flag(CLI::App& app, const std::string& name, std::optional<SizeText>& size, const std::string& help);

}  // namespace leafcutter::tools
