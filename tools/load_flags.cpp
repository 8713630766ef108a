#include "tools/load_flags.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "compress/leaf_reader.h"
#include "offload/card_table.h"
#include "offload/emulated_device.h"
#include "offload/virtual_device.h"
#include "tools/command.h"
#include "tools/conversion.h"
#include "tools/cuda_choice.h"
#include "tools/measured_card.h"
#include "tools/name_list.h"
#include "tools/rates_cache.h"

namespace leafcutter::tools {

namespace {

std::size_t read_bytes(const std::string& text) {
  const SizeText size = parse_size(text, "--io-size");
  if (size.kind != SizeText::Kind::bytes || size.bytes % offload::kLeastRead != 0 || size.bytes < offload::kLeastRead ||
      size.bytes > offload::kMostRead)
    throw Error(ErrorKind::usage, "--io-size", "expected a multiple of 4096 up to 4MiB", "write --io-size 1MiB");
  return static_cast<std::size_t>(size.bytes);
}

// A device that is played: as much memory and as fast a link as is asked for or as the card has, but no faster than a copy of this machine.
std::shared_ptr<offload::Device> emulated_device(const LoadFlags& flags) {
  constexpr std::uint64_t kMemory = std::uint64_t{1} << 30;
  constexpr double kFastestLink = 1e9;
  offload::EmulatedDeviceOptions options;
  options.memory_bytes = kMemory;
  options.isa = kernels::default_isa();
  if (!flags.card.empty()) {
    const offload::Card& card = offload::find_card(flags.card);
    options.name = std::string("emulated ") + card.name;
    options.memory_bytes = card.free_bytes();
    options.copy_engines = static_cast<std::size_t>(card.copy_engines);
    options.link_bytes_per_s = std::min(card.link_bytes_per_s, kFastestLink);
  }
  if (flags.device_memory) options.memory_bytes = flags.device_memory->resolve(options.memory_bytes);
  if (flags.clock == "virtual") {
    const offload::DeviceRates rates = rates_of(flags.card, flags.host, flags);
    return offload::make_virtual_device({"virtual " + flags.card, options.memory_bytes, rates.card, rates.host, options.isa});
  }
  if (flags.device_rate) options.link_bytes_per_s = static_cast<double>(*flags.device_rate);
  return offload::make_emulated_device(std::move(options));
}

// A card, where one is asked for or, with auto, there is one.
std::shared_ptr<offload::CudaDevice> cuda_device(const LoadFlags& flags, Notes* notes) {
  try {
    const CublasWish wish = flags.cublas == "on" ? CublasWish::on : flags.cublas == "auto" ? CublasWish::where_faster : CublasWish::off;
    return open_cuda_device({flags.device_memory, flags.gpu, wish}, [notes](const std::string& text) {
      if (notes) notes->add(text);
    });
  } catch (const Error& e) {
    if (flags.device == "cuda") throw;
    if (notes && flags.is_device_named) notes->add(std::string("note: computing on the CPU: ") + e.what());
    return nullptr;
  }
}

// What the model's plan for the card is chosen by. Measuring the host takes memory: where that is limited, what is known has to do.
std::optional<offload::DeviceRates> measured_rates(offload::CudaDevice& device, const LoadFlags& flags, const std::string& file,
                                                   Notes* notes) {
  RatesRequest request;
  request.threads = flags.threads > 0 ? flags.threads : all_cores();
  request.disk_file = file;
  request.products = offload::products_of(compress::read_leaf_index(*open_file(file)));
  auto rates = rates_of_this_card(device, request, !flags.memory, [notes](const std::string& text) {
    if (notes) notes->add(text);
  });
  if (rates && flags.disk_rate) rates->host.disk_bytes_per_s = static_cast<double>(*flags.disk_rate);
  return rates;
}

}  // namespace

offload::DeviceRates rates_of(const std::string& card, const std::string& host, const LoadFlags& load) {
  offload::DeviceRates rates{offload::find_card(card), offload::find_card_host(host)};
  if (load.device_rate) rates.card.link_bytes_per_s = static_cast<double>(*load.device_rate);
  if (load.disk_rate) rates.host.disk_bytes_per_s = static_cast<double>(*load.disk_rate);
  return rates;
}

void check_clock(const LoadFlags& flags, const runtime::Model& model) {
  if (flags.clock != "virtual" || model.plan().streamed.empty()) return;
  throw Error(ErrorKind::unsupported, "--clock virtual",
              "reads from disk have no time on it, and each step reads " + format_bytes(model.plan().streamed_bytes),
              "raise --memory, or ask `plan --card`");
}

void add_size_flag(CLI::App& app, const std::string& name, std::optional<SizeText>& size, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&size, name](const std::string& text) {
           try {
             size = parse_size(text, name);
           } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
         },
         help)
      ->type_name("SIZE");
}

namespace {

// A name that a table has; as CLI11 wants it, no text is no problem.
template <class Find>
std::string check_name(Find&& find, const std::string& name) {
  try {
    find(name);
  } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
  return {};
}

// "disk=500MB", "device=6GB", "disk=500MB,device=6GB".
void read_links(const std::string& text, LoadFlags& flags) {
  const Error wrong(ErrorKind::usage, "--link " + text, "is no rate of a link",
                    "write disk=RATE or device=RATE, such as disk=500MB (bytes a second)");
  const std::vector<std::string> links = name_list(text);
  if (links.empty()) throw wrong;
  for (const std::string& link : links) {
    const std::size_t equals = std::min(link.find('='), link.size());
    const std::string name = link.substr(0, equals);
    if (equals == link.size() || (name != "disk" && name != "device")) throw wrong;
    const SizeText rate = parse_size(link.substr(equals + 1), "--link");
    if (rate.kind != SizeText::Kind::bytes || rate.bytes == 0) throw wrong;
    (name == "disk" ? flags.disk_rate : flags.device_rate) = rate.bytes;
  }
}

}  // namespace

void add_load_flags(CLI::App& app, LoadFlags& flags) {
  add_size_flag(app, "--memory", flags.memory, "budget of host memory: 2GiB, 1500MB, 60%, -1GiB (all but that)");
  app.add_option("-t,--threads", flags.threads, "compute threads (default: all cores, but one with --device emulated)")
      ->check(CLI::Range(1, 1024));
  app.add_option("-c,--ctx-size", flags.ctx_size, "KV rows (default: min(model's, what the budget allows, 2048))")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 24));
  app.add_option_function<std::string>(
         "--kv-type", [&flags](const std::string& name) { flags.kv_type = kernels::find_kv_type(name); },
         "f32, f16 or q8 (default: f16, f32 for an f32 file)")
      ->check(CLI::IsMember({"f32", "f16", "q8"}));
  app.add_option("--device", flags.device, "where to compute: auto takes an NVIDIA card where there is one and the command can use it")
      ->each([&flags](const std::string&) { flags.is_device_named = true; })
      ->check(CLI::IsMember({"auto", "cpu", "emulated", "cuda"}))
      ->capture_default_str();
  app.add_option("--io", flags.io, "how to read: io_uring, threads or auto")
      ->check(CLI::IsMember({"auto", "io_uring", "threads"}))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--link",
         [&flags](const std::string& text) {
           try {
             read_links(text, flags);
           } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
         },
         "disk=RATE, bytes a second: read no faster than this; plan takes it for the disk's rate. device=RATE: with plan --card from host "
         "memory to the card, with --device emulated copy no faster. Both: separated by a comma")
      ->type_name("disk=RATE");
  app.add_option("--io-depth", flags.io_depth, "reads in flight (default: what the disk wants, where `plan` or `profile` measured it; 16)")
      ->check(CLI::Range(std::size_t{1}, offload::kMostReadsInFlight));
  app.add_option_function<std::string>(
         "--io-size",
         [&flags](const std::string& text) {
           try {
             flags.io_size = read_bytes(text);
           } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
         },
         "bytes of one read (default: what the disk wants; 1MiB)")
      ->type_name("SIZE");
}

void add_device_flags(CLI::App& app, LoadFlags& flags) {
  flags.may_use_card = true;
  app.add_option("--gpu", flags.gpu, "which card, as nvidia-smi counts those that CUDA_VISIBLE_DEVICES lets through")
      ->check(CLI::Range(0, 255))
      ->capture_default_str();
  add_size_flag(
      app, "--device-memory", flags.device_memory,
      "memory of the device. A card's: all that the program may take of it, the driver's share included (default: what is free). The "
      "emulated device's, which runs the CPU's kernels (default: the card's, 1GiB without --card)");
  app.add_option(
         "--cublas", flags.cublas,
         "products of prompts with weights in f16 on a card: off, by our kernels; on, by cuBLAS 12; auto, by whichever `selftest` found "
         "faster. cuBLAS rounds otherwise, so that answers may differ from those with off")
      ->check(CLI::IsMember({"on", "off", "auto"}))
      ->capture_default_str();
  app.add_option("--card", flags.card,
                 "the emulated device has this card's memory and copy engines, and its link or 1 GB/s if that is less; who computes what "
                 "is chosen as `plan --card` does")
      ->check([](const std::string& name) { return check_name(offload::find_card, name); });
  app.add_option("--host", flags.host, "with --card: what the card is taken to be put into")
      ->check([](const std::string& name) { return check_name(offload::find_card_host, name); })
      ->capture_default_str();
  app.add_option(
         "--clock", flags.clock,
         "of the emulated device. real: copies take as long as the link says, kernels as long as the CPU; virtual, with --card: what "
         "card and host of the table would take, computed as fast as this machine can")
      ->check(CLI::IsMember({"real", "virtual"}))
      ->capture_default_str();
}

void LoadFlags::apply_link(offload::HostRates& rates) const {
  constexpr double kLookupBytes = 32 << 10;  // read for a row of an embedding
  if (!disk_rate) return;
  rates.disk_gb_s = static_cast<double>(*disk_rate) / 1e9;
  rates.read_latency_s = 0;
  rates.lookup_s += kLookupBytes / (rates.disk_gb_s * 1e9);
  rates.disk_assumed = false;
}

runtime::LoadOptions LoadFlags::options(const std::string& file, Notes* notes) const {
  if (device == "cuda" && !may_use_card)
    throw Error(ErrorKind::unsupported, "--device cuda", "this command does not compute on a card", "use --device cpu");
  const bool emulated = device == "emulated";
  if (clock == "virtual" && (!emulated || card.empty()))
    throw WrongCommandLine("--clock virtual", "is that of a card", "add --device emulated --card NAME");
  std::shared_ptr<offload::Device> chosen;
  std::shared_ptr<offload::CudaDevice> cuda;
  if (emulated) chosen = emulated_device(*this);
  if (device == "cuda" || (device == "auto" && may_use_card)) chosen = cuda = cuda_device(*this, notes);
  if (cublas == "on" && (emulated || !chosen))
    throw Error(ErrorKind::usage, "--cublas on", "there is no card with --device " + device, "add --device cuda");
  if (!emulated && (device_rate || !card.empty()))
    throw WrongCommandLine(device_rate ? "--link device=RATE" : "--card", "there is no emulated device with --device " + device,
                           "add --device emulated; plan takes a --card");
  // With a driver `auto` might have found a card: nothing is wrong with the command line.
  if (device_memory && !chosen)
    throw Error(ErrorKind::usage, "--device-memory", "there is no device with --device " + device, "add --device emulated");
  runtime::LoadOptions options;
  options.device = std::move(chosen);
  if (emulated && !card.empty()) options.device_rates = rates_of(card, host, *this);
  if (cuda && !file.empty()) options.device_rates = measured_rates(*cuda, *this, file, notes);
  options.memory = memory;
  options.threads = threads;
  options.ctx_size = ctx_size;
  options.kv_type = kv_type;
  if (io == "io_uring") options.pager.backend = offload::ReadBackend::io_uring;
  if (io == "threads") options.pager.backend = offload::ReadBackend::threads;
  if (!file.empty()) options.pager.reads = known_reads(file).value_or(offload::ReadShape{});
  if (io_depth > 0) options.pager.reads.in_flight = io_depth;
  if (io_size) options.pager.reads.bytes = *io_size;
  options.disk_bytes_per_s = disk_rate;
  return options;
}

}  // namespace leafcutter::tools
