#include "compress/leaf_check.h"

#include <cmath>

#include "base/checked.h"
#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/leaf_fields.h"
#include "compress/strip_walk.h"
#include "quant/format.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kLine = 64;  // kernels load whole lines

class IndexChecker {
 public:
  IndexChecker(const LeafIndex& index, std::uint64_t index_offset, const std::string& file)
      : index_(index), index_offset_(index_offset), file_(file) {}

  void check() const {
    check_modules();
    check_tensors();
    check_chunks();
    equal("embedding_tile_hashes", "count", index_.embedding_tile_hashes.size(), tile_count(index_));
  }

 private:
  struct ExpectedModule {
    ModuleKind kind;
    std::uint32_t layer;
  };

  [[noreturn]] void refuse(const std::string& place, const std::string& problem, ErrorKind kind = ErrorKind::bad_file) const {
    throw Error(kind, file_ + ", " + place, problem);
  }

  void equal(const std::string& place, const char* field, std::uint64_t found, std::uint64_t expected) const {
    if (found != expected) refuse(place + ", " + field, "is " + std::to_string(found) + ", expected " + std::to_string(expected));
  }

  std::vector<ExpectedModule> expected_modules() const {
    std::vector<ExpectedModule> out = {{ModuleKind::embedding, 0}};
    for (std::uint32_t i = 0; i < index_.model.layers.size(); i++) {
      if (index_.model.layers[i].has_attention) out.push_back({ModuleKind::attention, i});
      if (index_.model.layers[i].has_feed_forward) out.push_back({ModuleKind::feed_forward, i});
    }
    if (!index_.model.tied_head) out.push_back({ModuleKind::head, 0});
    out.push_back({ModuleKind::vectors, 0});
    return out;
  }

  // Modules are those of the description, and share tensors and chunks out without a gap.
  void check_modules() const {
    const std::vector<ExpectedModule> expected = expected_modules();
    equal("modules", "count", index_.modules.size(), expected.size());
    std::uint64_t tensors = 0, chunks = 0;
    for (std::size_t i = 0; i < expected.size(); i++) {
      const ModuleEntry& m = index_.modules[i];
      const std::string place = "module " + std::to_string(i);
      equal(place, "kind", static_cast<std::uint64_t>(m.kind), static_cast<std::uint64_t>(expected[i].kind));
      equal(place, "layer", m.layer, expected[i].layer);
      equal(place, "first_tensor", m.first_tensor, tensors);
      equal(place, "first_chunk", m.first_chunk, chunks);
      if (m.tensor_count == 0) refuse(place + ", tensor_count", "is 0");
      if (m.chunk_count == 0) refuse(place + ", chunk_count", "is 0");
      tensors += m.tensor_count;
      chunks += m.chunk_count;
      if (tensors > index_.tensors.size())
        refuse(place + ", tensor_count", "reaches tensor " + std::to_string(tensors) + " of " + std::to_string(index_.tensors.size()));
      if (chunks > index_.chunks.size())
        refuse(place + ", chunk_count", "reaches chunk " + std::to_string(chunks) + " of " + std::to_string(index_.chunks.size()));
    }
    equal("tensors", "count", index_.tensors.size(), tensors);
    equal("chunks", "count", index_.chunks.size(), chunks);
  }

  // Both lists are in one order, so that a walk side by side finds what is missing, comes twice or is not asked for.
  void check_tensors() const {
    std::size_t i = 0;
    for (const ExpectedTensor& expected : expected_tensors(index_.model)) {
      const TensorEntry* found = i < index_.tensors.size() ? &index_.tensors[i] : nullptr;
      if (found && found->role == expected.role && found->layer == expected.layer) {
        check_tensor(i, expected);
        i++;
      } else if (!expected.optional) {
        const std::string instead = !found ? "the list ends"
                                    : is_known_role(static_cast<std::uint16_t>(found->role))
                                        ? tensor_place(found->role, found->layer) + " is there"
                                        : "role " + std::to_string(static_cast<unsigned>(found->role)) + " is there";
        refuse("tensor " + std::to_string(i), "expected " + tensor_place(expected.role, expected.layer) + ", " + instead);
      }
    }
    if (i != index_.tensors.size())
      refuse("tensor " + std::to_string(i),
             tensor_place(index_.tensors[i].role, index_.tensors[i].layer) + " is not asked for by the model");
    for (std::size_t m = 0; m < index_.modules.size(); m++) check_tensors_of_module(m);
  }

  void check_tensor(std::size_t number, const ExpectedTensor& expected) const {
    const TensorEntry& t = index_.tensors[number];
    const std::string place = "tensor " + std::to_string(number) + " (" + tensor_place(t.role, t.layer) + ")";
    equal(place, "rows", t.rows, expected.rows);
    equal(place, "k", t.k, expected.k);
    const quant::Format* format = quant::find_format(t.format);
    if (!format)
      refuse(place + ", format", std::to_string(static_cast<unsigned>(t.format)) + " is not known to this program", ErrorKind::unsupported);
    const bool plain = is_vector_role(t.role);
    if (plain && t.format != quant::FormatId::f32) refuse(place + ", format", std::string("is ") + format->name + ", expected f32");
    const kernels::Layout layout = plain ? kernels::Layout::plain : format->layout;
    equal(place, "layout", static_cast<std::uint64_t>(t.layout), static_cast<std::uint64_t>(layout));
    if (!std::isfinite(t.divisor) || t.divisor == 0) refuse(place + ", divisor", "is " + std::to_string(t.divisor));
    if (!plain && t.strip_bytes() > kMaxChunkBytes)
      refuse(place,
             "16 rows of " + std::to_string(t.k) + " in " + format->name + " need " + std::to_string(t.strip_bytes()) +
                 " bytes, a chunk holds " + std::to_string(kMaxChunkBytes),
             ErrorKind::unsupported);
    equal(place, "bytes", t.bytes, tensor_bytes(layout, t.rows, t.k));
  }

  void check_tensors_of_module(std::size_t number) const {
    const ModuleEntry& m = index_.modules[number];
    std::uint64_t offset = 0;
    for (std::size_t i = m.first_tensor; i < std::size_t{m.first_tensor} + m.tensor_count; i++) {
      const TensorEntry& t = index_.tensors[i];
      const std::string place = "tensor " + std::to_string(i) + " (" + tensor_place(t.role, t.layer) + ")";
      equal(place, "module", t.module, number);
      if (module_of(t.role) != m.kind || (is_layer_role(t.role) && m.kind != ModuleKind::vectors && t.layer != m.layer))
        refuse(place + ", module", std::to_string(number) + " is no home of it");
      equal(place, "offset", t.offset, offset);
      offset += t.bytes;
    }
    equal("module " + std::to_string(number), "bytes", m.bytes, offset);
  }

  // Chunks fill the blobs, and their stored bytes fill the file up to the index.
  void check_chunks() const {
    std::uint64_t file_offset = kHeaderBytes;
    for (std::size_t m = 0; m < index_.modules.size(); m++) {
      const ModuleEntry& module = index_.modules[m];
      std::uint64_t module_offset = 0;
      for (std::size_t c = module.first_chunk; c < std::size_t{module.first_chunk} + module.chunk_count; c++) {
        check_chunk(c, m, module_offset, file_offset);
        module_offset += index_.chunks[c].raw_bytes;
        file_offset += round_up(index_.chunks[c].stored_bytes, kPage);
      }
      equal("module " + std::to_string(m), "bytes in its chunks", module_offset, module.bytes);
    }
    equal("header", "index_offset", index_offset_, file_offset);
  }

  void check_chunk(std::size_t number, std::size_t module, std::uint64_t module_offset, std::uint64_t file_offset) const {
    const ChunkEntry& c = index_.chunks[number];
    const std::string place = "chunk " + std::to_string(number);
    equal(place, "module", c.module, module);
    equal(place, "module_offset", c.module_offset, module_offset);
    equal(place, "file_offset", c.file_offset, file_offset);
    if (c.raw_bytes == 0 || c.raw_bytes % kLine != 0 || c.raw_bytes > kMaxChunkBytes)
      refuse(place + ", raw_bytes",
             "is " + std::to_string(c.raw_bytes) + ", allowed are multiples of 64 up to " + std::to_string(kMaxChunkBytes));
    if (c.raw_bytes > index_.modules[module].bytes - module_offset)
      refuse(place + ", raw_bytes", "is " + std::to_string(c.raw_bytes) + ", the module has " +
                                        std::to_string(index_.modules[module].bytes - module_offset) + " left");
    if (!ends_at_strip(c)) refuse(place + ", raw_bytes", "is " + std::to_string(c.raw_bytes) + ", which cuts a strip");
    switch (c.codec) {
      case Codec::none:
        if (c.stored_hash != c.hash) refuse(place + ", stored_hash", "differs from the hash, though there is no codec");
        equal(place, "stored_bytes", c.stored_bytes, c.raw_bytes);
        break;
      case Codec::zstd:
        if (index_.modules[module].kind == ModuleKind::embedding)
          refuse(place + ", codec", "is zstd, rows of the embedding are read alone");
        if (c.stored_bytes == 0 || c.stored_bytes >= c.raw_bytes)
          refuse(place + ", stored_bytes",
                 "is " + std::to_string(c.stored_bytes) + " of " + std::to_string(c.raw_bytes) + ", allowed are fewer, and some");
        break;
      default:
        refuse(place + ", codec", std::to_string(static_cast<unsigned>(c.codec)) + " is not known to this program", ErrorKind::unsupported);
    }
  }

  bool ends_at_strip(const ChunkEntry& c) const {
    if (index_.modules[c.module].kind == ModuleKind::vectors) return true;
    const StripRange last = strips_of_chunk(index_, c).back();
    return last.offset + (last.end - last.begin) * index_.tensors[last.tensor].strip_bytes() == c.module_offset + c.raw_bytes;
  }

  const LeafIndex& index_;
  std::uint64_t index_offset_;
  const std::string& file_;
};

}  // namespace

void check_index(const LeafIndex& index, std::uint64_t index_offset, const std::string& file) {
  IndexChecker(index, index_offset, file).check();
}

std::string tensor_place(TensorRole role, std::uint32_t layer) {
  return (is_layer_role(role) ? "layer " + std::to_string(layer) + " " : std::string()) + role_name(role);
}

std::uint64_t tensor_bytes(kernels::Layout layout, std::uint64_t rows, std::uint64_t k) {
  if (layout == kernels::Layout::plain) return round_up(4 * rows * k, kLine);
  return (rows + kernels::kStripRows - 1) / kernels::kStripRows * kernels::strip_bytes(layout, k);
}

}  // namespace leafcutter::compress
