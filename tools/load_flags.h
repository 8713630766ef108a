// Flags that run, eval, bench and plan share: memory, threads, context, KV type, device.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "offload/card_prediction.h"
#include "offload/prediction.h"
#include "runtime/model.h"
#include "tools/console.h"

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
  int gpu = 0;                        // of several cards
  std::string cublas = "off";         // on, auto
  bool may_use_card = false;          // --device cuda, and auto where there is a card
  bool is_device_named = false;       // by a flag
  std::string card;                   // whose memory, link and copy engines an emulated device has
  std::string host = "desktop-ddr4";  // that the card is taken to be in
  std::string clock = "real";         // of an emulated device; virtual: the card's

  // With --link, the disk's rate is that of the link.
  void apply_link(offload::HostRates& rates) const;

  // For a model in this file (empty: nowhere); reads are done as its disk wants them, where that is known and no flag says otherwise.
  // Throws Error for a device that is not there; `auto` computes on the CPU then, and says why where it was asked for by name.
  runtime::LoadOptions options(const std::string& file, Notes* notes = nullptr) const;
};

void add_load_flags(CLI::App& app, LoadFlags& flags);
// What the rows of the card table say; --link goes before them. Throws Error(usage) for names that the table has not.
offload::DeviceRates rates_of(const std::string& card, const std::string& host, const LoadFlags& load);

// Throws Error(unsupported) where the steps of a loaded model do what a virtual clock does not count: read from disk.
void check_clock(const LoadFlags& flags, const runtime::Model& model);

// Of commands that may compute on a device: --gpu, --device-memory, --card, --host, --clock.
void add_device_flags(CLI::App& app, LoadFlags& flags);

// A size as a CLI11 check and conversion: refused while parsing.
void add_size_flag(CLI::App& app, const std::string& name, std::optional<SizeText>& size, const std::string& help);

}  // namespace leafcutter::tools
