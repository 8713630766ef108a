#include "compress/leaf_writer.h"

#include <algorithm>
#include <cstring>
#include <future>

#include "base/checked.h"
#include "base/error.h"
#include "base/page_buffer.h"
#include "compress/chunk_codec.h"
#include "compress/leaf_fields.h"
#include "compress/leaf_layout.h"
#include "compress/strip_walk.h"
#include "compress/tokenizer_data.h"
#include "compress/xxh3.h"

namespace leafcutter::compress {
namespace {

// A batch of chunks is filled while the one before is written. Large enough to keep all threads busy, small enough for `compress` to stay far below 500 MiB with two
// batches of raw and stored bytes each.
constexpr std::uint64_t kLeastBatchBytes = 16u << 20, kMostBatchBytes = 64u << 20;
// A piece of work for one thread: small against a batch, so that all threads end together, large against the cost of handing it out.
constexpr std::uint64_t kPieceBytes = 256u << 10;
constexpr int kMostLevel = 9;  // 12 MiB for each thread; above it 50 MiB and more, for 1 % fewer bytes of weights

struct Slot {
  std::size_t chunk = 0;
  std::span<std::byte> raw, stored;     // each with room up to the page
  std::span<const std::byte> to_write;  // padded
};

struct Batch {
  PageBuffer raw, stored;
  std::vector<Slot> slots;
};

// The vectors' blob in order: tensors are filled one after another, tables some rows at a time, and handed out in any cuts.
class VectorFeed {
 public:
  VectorFeed(const LeafIndex& index, FillStrips fill) : index_(index), fill_(std::move(fill)), next_(index.modules.back().first_tensor) {}

  void take(std::span<std::byte> to) {
    while (!to.empty()) {
      if (ready_.empty()) refill();
      const std::size_t part = std::min(to.size(), ready_.size());
      std::copy_n(ready_.begin(), part, to.begin());
      to = to.subspan(part);
      ready_ = ready_.subspan(part);
    }
  }

 private:
  void refill() {
    const TensorEntry& tensor = index_.tensors[next_];
    const std::uint64_t rows = rows_of_plain_piece(tensor.k), bytes = rows * tensor.k * sizeof(float), begin = piece_ * bytes;
    const bool last = (piece_ + 1) * rows >= tensor.rows;
    bytes_.assign(last ? tensor.bytes - begin : bytes, std::byte{0});  // the tail up to the line stays zero
    fill_(next_, piece_, piece_ + 1, bytes_);
    ready_ = bytes_;
    next_ += last ? 1 : 0;
    piece_ = last ? 0 : piece_ + 1;
  }

  const LeafIndex& index_;
  FillStrips fill_;
  std::size_t next_;
  std::uint64_t piece_ = 0;
  std::vector<std::byte> bytes_;
  std::span<const std::byte> ready_;
};

class LeafWriter {
 public:
  LeafWriter(NewFile& file, LeafLayout& layout, const LeafWriterOptions& options, const FillStrips& fill, ThreadTeam& team)
      : file_(file),
        index_(layout.index),
        layout_(layout),
        options_(options),
        fill_(fill),
        team_(team),
        vectors_(index_, [this](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
          fill_(layout_.plan_of_tensor[tensor], begin, end, out);
        }) {}

  // Fills, codes and writes all chunks; gives the offset behind them.
  std::uint64_t write_chunks(const WriteProgress& progress) {
    std::uint64_t total = 0, done = 0;
    for (const ModuleEntry& m : index_.modules) total += m.bytes;
    Batch batches[2];
    std::future<void> writing;  // declared after the batches: it ends before they go
    std::uint64_t file_offset = kHeaderBytes;
    std::size_t turn = 0;
    for (std::size_t next = 0; next < index_.chunks.size();) {
      Batch& batch = batches[turn++ % 2];
      next = open_batch(batch, next);
      fill_batch(batch);
      finish_chunks(batch);
      for (Slot& slot : batch.slots) {
        index_.chunks[slot.chunk].file_offset = file_offset;
        file_offset += slot.to_write.size();
      }
      if (writing.valid()) writing.get();
      writing = std::async(std::launch::async, [this, &batch] {
        for (const Slot& slot : batch.slots) file_.write_at(index_.chunks[slot.chunk].file_offset, slot.to_write);
      });
      for (const Slot& slot : batch.slots) {
        done += index_.chunks[slot.chunk].raw_bytes;
        if (progress) progress(done, total);
      }
    }
    if (writing.valid()) writing.get();
    return file_offset;
  }

  void write_index(std::uint64_t offset, std::span<const std::byte> tokenizer) {
    const std::string description = to_json_text(index_.model);
    std::vector<std::byte> bytes;
    FieldWriter fields(bytes);
    for (char c : description) fields.number(c);
    fields.zeros(round_up(description.size(), kDescriptionAlignment) - description.size());
    const auto put = [&](auto entry) { transfer(fields, entry); };
    for (const ModuleEntry& m : index_.modules) put(m);
    for (const TensorEntry& t : index_.tensors) put(t);
    for (const ChunkEntry& c : index_.chunks) put(c);
    for (std::uint64_t hash : index_.embedding_tile_hashes) put(hash);

    LeafHeader header{.index_offset = offset,
                      .index_bytes = bytes.size(),
                      .index_hash = xxh3(bytes),
                      .description_bytes = static_cast<std::uint32_t>(description.size()),
                      .modules = static_cast<std::uint32_t>(index_.modules.size()),
                      .tensors = static_cast<std::uint32_t>(index_.tensors.size()),
                      .chunks = static_cast<std::uint32_t>(index_.chunks.size()),
                      .tiles = static_cast<std::uint32_t>(index_.embedding_tile_hashes.size())};
    if (!tokenizer.empty()) {
      fields.zeros(round_up(bytes.size(), kTokenizerAlignment) - bytes.size());
      header.tokenizer_offset = offset + bytes.size();
      header.tokenizer_bytes = tokenizer.size();
      header.tokenizer_hash = xxh3(tokenizer);
      bytes.insert(bytes.end(), tokenizer.begin(), tokenizer.end());
    }
    fields.zeros(round_up(bytes.size(), kPage) - bytes.size());
    header.file_bytes = offset + bytes.size();
    file_.write_at(offset, bytes);
    write_header(header);
  }

 private:
  // Last of all: a file without it is no .leaf.
  void write_header(LeafHeader& header) {
    std::vector<std::byte> page;
    FieldWriter fields(page);
    fields.number(kLeafMagic);
    transfer(fields, header);
    fields.number(xxh3(page));
    file_.write_at(0, page);
  }

  std::uint64_t batch_bytes() const {
    return std::clamp<std::uint64_t>(2 * team_.size() * options_.chunk_bytes, kLeastBatchBytes, kMostBatchBytes);
  }

  // Takes chunks from `next` on, at least one, and gives the first that is left.
  std::size_t open_batch(Batch& batch, std::size_t next) {
    batch.slots.clear();
    std::uint64_t bytes = 0;
    std::size_t end = next;
    for (; end < index_.chunks.size(); end++) {
      const std::uint64_t room = round_up(index_.chunks[end].raw_bytes, kPage);
      if (end > next && bytes + room > batch_bytes()) break;
      bytes += room;
    }
    if (batch.raw.size() < bytes) {
      batch.raw = PageBuffer(bytes, "compress, chunks");
      if (options_.codec == Codec::zstd) batch.stored = PageBuffer(bytes, "compress, coded chunks");
    }
    std::uint64_t at = 0;
    for (std::size_t c = next; c < end; c++) {
      const std::uint64_t room = round_up(index_.chunks[c].raw_bytes, kPage);
      Slot slot{.chunk = c, .raw = batch.raw.bytes().subspan(at, room), .stored = {}, .to_write = {}};
      if (batch.stored.size() > 0) slot.stored = batch.stored.bytes().subspan(at, room);
      batch.slots.push_back(slot);
      at += room;
    }
    return end;
  }

  void fill_batch(Batch& batch) {
    struct Piece {
      std::size_t tensor;
      std::uint64_t begin, end;
      std::span<std::byte> out;
    };
    std::vector<Piece> pieces;
    for (const Slot& slot : batch.slots) {
      const ChunkEntry& chunk = index_.chunks[slot.chunk];
      if (index_.modules[chunk.module].kind == ModuleKind::vectors) {
        vectors_.take(slot.raw.first(chunk.raw_bytes));
        continue;
      }
      for (const StripRange& range : strips_of_chunk(index_, chunk)) {
        const std::uint64_t strip_bytes = index_.tensors[range.tensor].strip_bytes();
        const std::uint64_t step = std::max<std::uint64_t>(1, kPieceBytes / strip_bytes);
        for (std::uint64_t s = range.begin; s < range.end; s += step) {
          const std::uint64_t end = std::min(s + step, range.end);
          const std::uint64_t at = range.offset - chunk.module_offset + (s - range.begin) * strip_bytes;
          pieces.push_back({range.tensor, s, end, slot.raw.subspan(at, (end - s) * strip_bytes)});
        }
      }
    }
    team_.run(pieces.size(), [&](std::size_t i, std::size_t) {
      const Piece& piece = pieces[i];
      fill_(layout_.plan_of_tensor[piece.tensor], piece.begin, piece.end, piece.out);
    });
  }

  void finish_chunks(Batch& batch) {
    team_.run(batch.slots.size(), [&](std::size_t i, std::size_t) { finish_chunk(batch.slots[i]); });
  }

  // Hashes, codes where that makes it smaller, and pads.
  void finish_chunk(Slot& slot) {
    ChunkEntry& chunk = index_.chunks[slot.chunk];
    const std::span<const std::byte> raw = slot.raw.first(chunk.raw_bytes);
    chunk.hash = chunk.stored_hash = xxh3(raw);
    const bool embedding = index_.modules[chunk.module].kind == ModuleKind::embedding;
    if (embedding) hash_tiles(chunk, raw);
    std::span<std::byte> out = slot.raw;
    if (options_.codec == Codec::zstd && !embedding) {
      if (const std::size_t coded = encode_zstd(raw, slot.stored, options_.zstd_level); coded > 0) {
        chunk.codec = Codec::zstd;
        chunk.stored_bytes = static_cast<std::uint32_t>(coded);
        chunk.stored_hash = xxh3(slot.stored.first(coded));
        out = slot.stored;
      }
    }
    const std::uint64_t padded = round_up(chunk.stored_bytes, kPage);
    std::memset(out.data() + chunk.stored_bytes, 0, padded - chunk.stored_bytes);
    slot.to_write = out.first(padded);
  }

  void hash_tiles(const ChunkEntry& chunk, std::span<const std::byte> raw) {
    for (const StripRange& range : strips_of_chunk(index_, chunk)) {
      const std::uint64_t strip_bytes = index_.tensors[range.tensor].strip_bytes();
      const std::uint64_t first_tile = tile_number(index_, range.tensor, range.begin);
      for (std::uint64_t s = 0; s < range.end - range.begin; s++)
        index_.embedding_tile_hashes[first_tile + s] = xxh3(raw.subspan(range.offset - chunk.module_offset + s * strip_bytes, strip_bytes));
    }
  }

  NewFile& file_;
  LeafIndex& index_;
  const LeafLayout& layout_;
  const LeafWriterOptions& options_;
  const FillStrips& fill_;
  ThreadTeam& team_;
  VectorFeed vectors_;
};

}  // namespace

void write_leaf(NewFile& file, const ModelDescription& model, std::span<const TensorPlan> tensors,
                std::span<const std::byte> tokenizer_section, const LeafWriterOptions& options, const FillStrips& fill, ThreadTeam& team,
                const WriteProgress& progress) {
  if (options.zstd_level < 1 || options.zstd_level > kMostLevel)
    throw Error(ErrorKind::usage, "zstd level", std::to_string(options.zstd_level) + ", allowed 1 to " + std::to_string(kMostLevel));
  if (tokenizer_section.size() > TokenizerLimits::kSectionBytes)
    throw Error(ErrorKind::unsupported, "tokenizer",
                "has " + std::to_string(tokenizer_section.size()) + " bytes, allowed " + std::to_string(TokenizerLimits::kSectionBytes));
  LeafLayout layout = make_layout(model, tensors, options.chunk_bytes);
  LeafWriter writer(file, layout, options, fill, team);
  const std::uint64_t end = writer.write_chunks(progress);
  writer.write_index(end, tokenizer_section);
  file.commit();
}

}  // namespace leafcutter::compress
