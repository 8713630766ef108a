// leafcutter doctor: what this machine can do for Leafcutter: disk, memory, limits, io_uring, instruction sets, driver and card. Each line says what will work and what will not.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/size_text.h"
#include "kernels/cuda/embedded_ptx.h"
#include "kernels/isa.h"
#include "offload/disk_probe.h"
#include "offload/host_memory.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/cuda_choice.h"
#include "tools/model_source.h"
#include "tools/version.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

enum class Verdict { good, note, bad };

struct Finding {
  std::string topic;
  Verdict verdict;
  std::string text;
  ordered_json facts;
};

constexpr const char* kMarks[] = {"ok  ", "note", "BAD "};
constexpr const char* kNames[] = {"ok", "note", "bad"};

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

Finding processor() {
  std::vector<std::string> here;
  std::string best;
  for (const kernels::IsaInfo& isa : kernels::isa_table())
    if (isa.here) here.push_back(isa.name), best = isa.name;
  std::string model;
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  const unsigned cores = std::thread::hardware_concurrency();
  const bool slow = best == "portable";
  return {"processor",
          slow ? Verdict::note : Verdict::good,
          fmt::format("{}, {} cores, kernels for {}{}", model, cores, best, slow ? ": without AVX2 everything is many times slower" : ""),
          {{"model", model}, {"cores", cores}, {"isa", best}, {"isas", here}}};
}

Finding memory() {
  const offload::HostMemory host = offload::host_memory();
  std::string text =
      fmt::format("{} in all, {} free for use, limited by {}", format_bytes(host.total), format_bytes(host.available), host.limited_by);
  if (host.cgroup_limit) text += fmt::format(" (group limit {})", format_bytes(*host.cgroup_limit));
  ordered_json facts = {{"total", host.total}, {"available", host.available}, {"limited_by", host.limited_by}};
  facts["cgroup_limit"] = host.cgroup_limit ? ordered_json(*host.cgroup_limit) : ordered_json(nullptr);
  return {"memory", Verdict::good, text, facts};
}

Finding locked_memory() {
  const auto limit = offload::host_memory().locked_limit;
  if (!limit) return {"memlock", Verdict::good, "no limit: read buffers can be registered with the kernel", {{"limit", nullptr}}};
  const bool small = *limit < (64u << 20);
  return {"memlock",
          small ? Verdict::note : Verdict::good,
          fmt::format("limit {}{}", format_bytes(*limit),
                      small ? ": read buffers are not registered, reading costs a little more of a core (raise ulimit -l)" : ""),
          {{"limit", *limit}}};
}

Finding huge_pages() {
  const std::string mode = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const bool off = mode.empty() || mode.find("[never]") != std::string::npos;
  return {"huge pages",
          off ? Verdict::note : Verdict::good,
          off ? "transparent huge pages are off: direct reads run at about half the rate (echo madvise > "
                "/sys/kernel/mm/transparent_hugepage/enabled)"
              : "transparent huge pages: " + mode,
          {{"mode", mode}}};
}

Finding reads(const std::string& folder, std::uint64_t bytes) {
  try {
    const offload::DiskProbe probe = offload::probe_disk(folder, bytes);
    std::string text = fmt::format("{}: {:.2f} GB/s by {}{}, one read at a time {:.2f} GB/s", folder, probe.gb_s, probe.backend,
                                   probe.direct ? ", direct" : ", BUFFERED", probe.single_gb_s);
    if (!probe.direct)
      text += ": the file system refuses O_DIRECT, reading costs a whole core and the page cache counts against container limits";
    return {"disk",
            probe.direct ? Verdict::good : Verdict::note,
            text,
            {{"folder", folder},
             {"gb_s", probe.gb_s},
             {"single_gb_s", probe.single_gb_s},
             {"backend", probe.backend},
             {"direct", probe.direct}}};
  } catch (const Error& e) { return {"disk", Verdict::bad, e.what(), {{"folder", folder}}}; }
}

Finding io_uring() {
  const bool works = offload::io_uring_works();
  return {"io_uring",
          works ? Verdict::good : Verdict::note,
          works ? "works" : "the kernel or the container refuses it: reads go through threads, a little more of a core each GB",
          {{"works", works}}};
}

Finding space(const std::string& folder) {
  struct statvfs info {};
  std::error_code ignored;
  std::filesystem::path at = folder;
  while (!std::filesystem::exists(at, ignored) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  if (statvfs(at.c_str(), &info) != 0) return {"cache", Verdict::bad, folder + ": cannot be looked at", {{"folder", folder}}};
  const std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  return {"cache",
          free < (std::uint64_t{10} << 30) ? Verdict::note : Verdict::good,
          fmt::format("{}: {} free (a 10B model in q4 takes 5 GiB)", folder, format_bytes(free)),
          {{"folder", folder}, {"free", free}}};
}

Finding card() {
  try {
    const offload::CudaCards found = installed_cuda_cards();
    const bool has_kernels = !gpu::embedded_ptx().empty();
    std::string text = "driver of CUDA " + offload::cuda_version_text(found.driver_version);
    ordered_json cards = ordered_json::array();
    for (const offload::CudaCard& card : found.cards) {
      text += fmt::format("; --gpu {}: {}", cards.size(), card_text(card));
      cards.push_back({{"name", card.name},
                       {"memory", card.memory_bytes},
                       {"capability", fmt::format("{}.{}", card.capability_major, card.capability_minor)},
                       {"multiprocessors", card.multiprocessors}});
    }
    if (!has_kernels) text += "; but this program holds no kernels for it: " + std::string(gpu::embedded_ptx_note());
    return {"card",
            has_kernels ? Verdict::good : Verdict::note,
            text,
            {{"driver", offload::cuda_version_text(found.driver_version)}, {"used", has_kernels}, {"cards", cards}}};
  } catch (const Error& e) { return {"card", Verdict::note, e.what(), {{"driver", nullptr}, {"used", false}}}; }
}

struct DoctorFlags {
  std::string folder;
  std::optional<SizeText> probe_bytes;
};

}  // namespace

RunCommand add_doctor(CLI::App& app) {
  auto flags = std::make_shared<DoctorFlags>();
  app.add_option("--folder", flags->folder, "folder whose disk is measured (default: the cache's)");
  return [flags](const CommonFlags& common) {
    const std::string folder = flags->folder.empty() ? cache_folder() : flags->folder;
    std::error_code ignored;
    if (flags->folder.empty()) std::filesystem::create_directories(folder, ignored);
    const std::vector<Finding> findings = {processor(),   memory(), locked_memory(), huge_pages(), io_uring(), reads(folder, 512ull << 20),
                                           space(folder), card()};
    if (common.json) {
      ordered_json facts = {{"version", version_text()}};
      for (const Finding& f : findings) {
        facts[f.topic] = f.facts;
        facts[f.topic]["verdict"] = kNames[static_cast<int>(f.verdict)];
        facts[f.topic]["text"] = f.text;
      }
      print_json(facts);
    } else {
      std::string text = version_text() + "\n";
      for (const Finding& f : findings) text += fmt::format("{}  {:10}  {}\n", kMarks[static_cast<int>(f.verdict)], f.topic, f.text);
      print_text(text);
    }
  };
}

}  // namespace leafcutter::tools
