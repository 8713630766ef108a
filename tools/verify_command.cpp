// leafcutter verify FILE: reads everything and checks every checksum.
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/page_buffer.h"
#include "base/size_text.h"
#include "compress/leaf_reader.h"
#include "tools/command.h"
#include "tools/console.h"

namespace leafcutter::tools {

RunCommand add_verify(CLI::App& app) {
  auto path = std::make_shared<std::string>();
  app.add_option("FILE", *path, "a .leaf")->required();
  return [path](const CommonFlags& common) {
    const std::stop_token stop = stop_on_signal();
    const auto file = open_file(*path);
    const compress::LeafIndex index = compress::read_leaf_index(*file);
    compress::read_tokenizer_section(*file, index);
    const PageBuffer raw(compress::kMaxChunkBytes, "verify");
    Progress progress("verify");
    std::uint64_t done = 0;
    for (std::size_t chunk = 0; chunk < index.chunks.size(); chunk++) {
      if (stop.stop_requested()) throw Error(ErrorKind::cancelled, *path, "stopped after " + std::to_string(chunk) + " chunks");
      const compress::ChunkEntry& entry = index.chunks[chunk];
      compress::read_chunk(*file, index, chunk, raw.bytes().first(entry.raw_bytes));
      done = entry.file_offset + entry.stored_bytes;
      progress.bytes(done, index.file_bytes);
    }
    compress::verify_embedding_tiles(*file, index);
    if (common.json)
      print_json({{"file", *path}, {"ok", true}, {"chunks", index.chunks.size()}, {"file_bytes", index.file_bytes}});
    else
      print_text(
          fmt::format("{}: all {} chunks are as they were written, {}\n", *path, index.chunks.size(), format_bytes(index.file_bytes)));
  };
}

}  // namespace leafcutter::tools
