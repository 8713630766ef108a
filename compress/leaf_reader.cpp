#include "compress/leaf_reader.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "compress/leaf_check.h"
#include "compress/leaf_fields.h"
#include "compress/page_range.h"
#include "compress/tokenizer_data.h"
#include "compress/xxh3.h"

namespace leafcutter::compress {
namespace {

[[noreturn]] void refuse(const File& file, const std::string& place, const std::string& problem, ErrorKind kind = ErrorKind::bad_file) {
  throw Error(kind, file.name() + ", " + place, problem);
}

// Reads the index once from front to end, a piece at a time, and hashes what it gives.
class IndexStream {
 public:
  // offset is a multiple of kPage, end <= the file's size.
  IndexStream(File& file, std::uint64_t offset, std::uint64_t end)
      : file_(file), at_(offset), end_(round_up(end, kPage)), window_(std::min<std::uint64_t>(kWindow, end_ - offset), "index", false) {}

  void take(std::span<std::byte> to) { hash_.add(take_unhashed(to)); }

  std::span<const std::byte> take_unhashed(std::span<std::byte> to) {
    for (std::size_t done = 0; done < to.size();) {
      if (ready_.empty()) refill();
      const std::size_t part = std::min(ready_.size(), to.size() - done);
      std::copy_n(ready_.begin(), part, to.begin() + static_cast<std::ptrdiff_t>(done));
      ready_ = ready_.subspan(part);
      done += part;
    }
    return to;
  }

  std::uint64_t hash() const { return hash_.hash(); }

 private:
  static constexpr std::uint64_t kWindow = 1u << 20;

  void refill() {
    const auto part = window_.bytes().first(std::min<std::uint64_t>(window_.size(), end_ - at_));
    read_exactly(file_, at_, part, "index");
    at_ += part.size();
    ready_ = part;
  }

  File& file_;
  std::uint64_t at_, end_;
  PageBuffer window_;
  std::span<const std::byte> ready_;
  Xxh3Stream hash_;
};

void check_limit(const File& file, const char* field, std::uint64_t found, std::uint64_t least, std::uint64_t most) {
  if (found < least || found > most)
    refuse(file, std::string("header, ") + field,
           "is " + std::to_string(found) + ", allowed " + std::to_string(least) + " to " + std::to_string(most));
}

void check_equal(const File& file, const char* field, std::uint64_t found, std::uint64_t expected) {
  if (found != expected)
    refuse(file, std::string("header, ") + field, "is " + std::to_string(found) + ", expected " + std::to_string(expected));
}

// Sizes first, places after them: each sum is made of numbers that were compared with a limit before.
void check_header(const File& file, const LeafHeader& h) {
  check_equal(file, "header_bytes", h.header_bytes, kHeaderBytes);
  if (h.file_bytes != file.size())
    refuse(file, "header, file_bytes",
           "is " + std::to_string(h.file_bytes) + ", the file has " + std::to_string(file.size()) + ": cut short or joined");
  check_limit(file, "file_bytes", h.file_bytes, 2 * kPage, LeafLimits::kFileBytes);
  check_limit(file, "description_bytes", h.description_bytes, 2, ModelLimits::kDescriptionBytes);
  check_limit(file, "modules", h.modules, 1, LeafLimits::kModules);
  check_limit(file, "tensors", h.tensors, 1, LeafLimits::kTensors);
  check_limit(file, "chunks", h.chunks, 1, LeafLimits::kChunks);
  check_limit(file, "tiles", h.tiles, 1, LeafLimits::kTiles);
  check_equal(file, "index_bytes", h.index_bytes, index_bytes_of(h.description_bytes, h.modules, h.tensors, h.chunks, h.tiles));
  if (h.index_offset % kPage != 0) refuse(file, "header, index_offset", "is " + std::to_string(h.index_offset) + ", no multiple of 4096");
  check_limit(file, "index_offset", h.index_offset, kHeaderBytes + kPage, h.file_bytes);
  if (h.index_bytes > h.file_bytes - h.index_offset)
    refuse(file, "header, index_bytes",
           "is " + std::to_string(h.index_bytes) + ", the file has " + std::to_string(h.file_bytes - h.index_offset) + " left");
  std::uint64_t end = h.index_offset + h.index_bytes;
  check_limit(file, "tokenizer_bytes", h.tokenizer_bytes, 0, TokenizerLimits::kSectionBytes);
  if (h.tokenizer_bytes == 0) {
    check_equal(file, "tokenizer_offset", h.tokenizer_offset, 0);
    check_equal(file, "tokenizer_hash", h.tokenizer_hash, 0);
  } else {
    check_equal(file, "tokenizer_offset", h.tokenizer_offset, round_up(end, kTokenizerAlignment));
    end = h.tokenizer_offset + h.tokenizer_bytes;
  }
  check_equal(file, "file_bytes", h.file_bytes, round_up(end, kPage));
}

LeafHeader read_header(File& file) {
  if (file.size() < kHeaderBytes)
    refuse(file, "header", "the file has " + std::to_string(file.size()) + " bytes, a .leaf more than " + std::to_string(kHeaderBytes));
  const PageRange page(file, 0, kHeaderBytes, "header");
  if (!std::equal(std::begin(kLeafMagic), std::end(kLeafMagic), reinterpret_cast<const std::uint8_t*>(page.bytes().data())))
    refuse(file, "header, magic, offset 0", "the file is no .leaf");
  LeafHeader h;
  FieldReader fields(page.bytes().subspan(sizeof kLeafMagic));
  transfer(fields, h);
  if (h.version != kFormatVersion)
    refuse(file, "header, version, offset 8", "is " + std::to_string(h.version) + ", this program reads " + std::to_string(kFormatVersion),
           ErrorKind::unsupported);
  std::uint64_t hash = 0;
  FieldReader(page.bytes().subspan(kHeaderHashOffset)).number(hash);
  if (hash != xxh3(page.bytes().first(kHeaderHashOffset))) refuse(file, "header, hash, offset 4088", "the header is damaged");
  if (!fields.reserved_are_zero()) refuse(file, "header, reserved", "is not zero");
  check_header(file, h);
  return h;
}

template <std::uint64_t kRecordBytes, class Entry>
void read_table(IndexStream& in, const File& file, const char* name, std::size_t count, std::vector<Entry>& out) {
  out.resize(count);
  std::array<std::byte, kRecordBytes> record;
  for (std::size_t i = 0; i < count; i++) {
    in.take(record);
    FieldReader fields(record);
    transfer(fields, out[i]);
    if (!fields.reserved_are_zero()) refuse(file, std::string(name) + " " + std::to_string(i) + ", reserved", "is not zero");
  }
}

void check_zeros(File& file, std::uint64_t begin, std::uint64_t end) {
  if (begin < end && !all_zero(PageRange(file, begin, end - begin, "padding").bytes()))
    refuse(file, "padding, offset " + std::to_string(begin), "is not zero up to offset " + std::to_string(end));
}

}  // namespace

LeafIndex read_leaf_index(File& file) {
  const LeafHeader h = read_header(file);
  const std::uint64_t index_end = h.index_offset + h.index_bytes;
  LeafIndex index;
  {
    IndexStream in(file, h.index_offset, index_end);
    std::string description(h.description_bytes, '\0');
    in.take(std::as_writable_bytes(std::span(description)));
    std::array<std::byte, kDescriptionAlignment> padding{};
    in.take(std::span(padding).first(round_up(h.description_bytes, kDescriptionAlignment) - h.description_bytes));
    read_table<kModuleRecordBytes>(in, file, "module", h.modules, index.modules);
    read_table<kTensorRecordBytes>(in, file, "tensor", h.tensors, index.tensors);
    read_table<kChunkRecordBytes>(in, file, "chunk", h.chunks, index.chunks);
    read_table<kTileRecordBytes>(in, file, "tile", h.tiles, index.embedding_tile_hashes);
    if (in.hash() != h.index_hash)
      refuse(file, "index, offset " + std::to_string(h.index_offset), "is damaged: its hash differs from the header's");
    if (!all_zero(padding)) refuse(file, "index, padding of the description", "is not zero");
    index.model = model_description_from_json(description, file.name());
  }
  index.tokenizer_offset = h.tokenizer_offset;
  index.tokenizer_bytes = h.tokenizer_bytes;
  index.tokenizer_hash = h.tokenizer_hash;
  index.file_bytes = h.file_bytes;
  check_index(index, h.index_offset, file.name());
  const bool tokenizer = h.tokenizer_bytes > 0;
  if (tokenizer) check_zeros(file, index_end, h.tokenizer_offset);
  check_zeros(file, tokenizer ? h.tokenizer_offset + h.tokenizer_bytes : index_end, h.file_bytes);
  return index;
}

std::vector<std::byte> read_tokenizer_section(File& file, const LeafIndex& index) {
  if (index.tokenizer_bytes == 0) return {};
  const PageRange section(file, index.tokenizer_offset, index.tokenizer_bytes, "tokenizer");
  if (xxh3(section.bytes()) != index.tokenizer_hash)
    refuse(file, "tokenizer, offset " + std::to_string(index.tokenizer_offset), "is damaged: its hash differs from the header's");
  return {section.bytes().begin(), section.bytes().end()};
}

}  // namespace leafcutter::compress
