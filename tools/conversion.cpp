#include "tools/conversion.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "tools/console.h"

namespace leafcutter::tools {

std::size_t all_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<std::size_t>(std::max(1, CPU_COUNT(&set))) : 1;
}

ConversionReport convert(const ConversionRequest& request, std::stop_token stop) {
  const auto start = std::chrono::steady_clock::now();
  const compress::CheckpointSource source = compress::open_checkpoint(request.input, request.checkpoint);
  ConversionReport report;
  report.notes = source.notes;
  for (const auto& file : source.files) report.source_bytes += file->size();
  const auto file = create_file(request.output);
  ThreadTeam team(request.threads > 0 ? request.threads : all_cores());
  Progress progress("compress");
  compress::compress_model(source, request.options, *file, team, [&](std::uint64_t done, std::uint64_t total) {
    if (stop.stop_requested()) throw Error(ErrorKind::cancelled, request.output, "stopped on request; nothing was left behind");
    progress.bytes(done, total);
  });
  report.file_bytes = open_file(request.output)->size();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace leafcutter::tools
