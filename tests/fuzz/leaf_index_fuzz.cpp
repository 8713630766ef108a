// Property: an index that is accepted is sound in every number, whatever the bytes, and the same again after its description was written and read.
//
// The input is the header's fields (92 bytes) and what lies from index_offset on; the chunks between are zeros that take no memory. The hashes are made right, so that it is the
// checks behind them that are tried.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/error.h"
#include "compress/leaf_fields.h"
#include "compress/leaf_reader.h"
#include "compress/tokenizer_data.h"
#include "compress/xxh3.h"

namespace {

using namespace leafcutter;
using namespace leafcutter::compress;

constexpr std::size_t kFieldBytes = 92;

class SparseFile final : public File {
 public:
  explicit SparseFile(std::span<const std::byte> input) : page_(kHeaderBytes), rest_(input.subspan(kFieldBytes)) {
    std::copy_n(input.begin(), kFieldBytes, page_.begin());
    put(40, xxh3(rest_.first(std::min<std::size_t>(rest_.size(), get(32)))));
    if (get(56) > 0 && get(48) >= get(24) && get(48) - get(24) <= rest_.size()) {
      const auto section = rest_.subspan(get(48) - get(24));
      put(64, xxh3(section.first(std::min<std::size_t>(section.size(), get(56)))));
    }
    put(kHeaderHashOffset, xxh3(std::span(page_).first(kHeaderHashOffset)));
  }
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return get(16); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset >= size()) return 0;
    to = to.first(std::min<std::uint64_t>(to.size(), size() - offset));
    std::ranges::fill(to, std::byte{0});
    copy_part(offset, to, get(24), rest_);
    copy_part(offset, to, 0, page_);
    return to.size();
  }

 private:
  // What of `part`, which lies at `begin`, falls into `to`, which was asked for from `offset` on.
  static void copy_part(std::uint64_t offset, std::span<std::byte> to, std::uint64_t begin, std::span<const std::byte> part) {
    const std::uint64_t skip = offset > begin ? offset - begin : 0, ahead = begin > offset ? begin - offset : 0;
    if (skip >= part.size() || ahead >= to.size()) return;
    const std::size_t bytes = std::min(part.size() - skip, to.size() - ahead);
    std::memcpy(to.data() + ahead, part.data() + skip, bytes);
  }
  std::uint64_t get(std::size_t offset) const {
    std::uint64_t value;
    std::memcpy(&value, page_.data() + offset, 8);
    return value;
  }
  void put(std::size_t offset, std::uint64_t value) { std::memcpy(page_.data() + offset, &value, 8); }

  std::vector<std::byte> page_;
  std::span<const std::byte> rest_;
  std::string name_ = "fuzz.leaf";
};

void require(bool holds) {
  if (!holds) std::abort();
}

void check_sound(File& file, const LeafIndex& index) {
  std::uint64_t file_offset = kPage;
  for (const ChunkEntry& c : index.chunks) {
    require(c.file_offset == file_offset && c.raw_bytes <= kMaxChunkBytes && c.stored_bytes <= c.raw_bytes);
    require(c.module_offset + c.raw_bytes <= index.modules.at(c.module).bytes);
    file_offset += (c.stored_bytes + kPage - 1) / kPage * kPage;
  }
  require(file_offset < file.size());
  for (const TensorEntry& t : index.tensors)
    require(index.find(t.role, t.layer) == &t && t.offset + t.bytes <= index.modules.at(t.module).bytes);
  const std::string text = to_json_text(index.model);
  require(to_json_text(model_description_from_json(text, "again")) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kFieldBytes) return 0;
  SparseFile file(std::as_bytes(std::span(data, size)));
  try {
    const LeafIndex index = read_leaf_index(file);
    check_sound(file, index);
    const auto section = read_tokenizer_section(file, index);
    if (!section.empty()) tokenizer_from_section(section, file.name());
    std::vector<std::byte> raw(index.chunks[0].raw_bytes);
    read_chunk(file, index, 0, raw);
  } catch (const Error&) {}
  return 0;
}
