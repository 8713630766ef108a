#include "compress/leaf_layout.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/leaf_check.h"
#include "compress/leaf_fields.h"
#include "compress/strip_walk.h"

namespace leafcutter::compress {
namespace {

constexpr std::uint64_t kLine = 64;

bool same_module(const TensorEntry& a, const TensorEntry& b) {
  const ModuleKind kind = module_of(a.role);
  const bool of_layer = kind == ModuleKind::attention || kind == ModuleKind::feed_forward;
  return kind == module_of(b.role) && (!of_layer || a.layer == b.layer);
}

// Opens a module at each change of part and layer, and gives each tensor its place.
void add_tensors(LeafIndex& index, std::span<const TensorPlan> tensors, std::span<const std::size_t> order) {
  for (std::size_t i : order) {
    const TensorPlan& plan = tensors[i];
    TensorEntry t{.role = plan.role, .layer = plan.layer, .format = plan.format, .rows = plan.rows, .k = plan.k, .divisor = plan.divisor};
    if (!is_vector_role(plan.role)) t.layout = quant::format_of(plan.format).layout;
    t.bytes = tensor_bytes(t.layout, t.rows, t.k);
    if (index.tensors.empty() || !same_module(index.tensors.back(), t)) {
      const ModuleKind kind = module_of(t.role);
      const bool of_layer = kind == ModuleKind::attention || kind == ModuleKind::feed_forward;
      index.modules.push_back(
          {.kind = kind, .layer = of_layer ? t.layer : 0, .first_tensor = static_cast<std::uint32_t>(index.tensors.size())});
    }
    ModuleEntry& module = index.modules.back();
    t.module = static_cast<std::uint32_t>(index.modules.size() - 1);
    t.offset = module.bytes;
    module.bytes += t.bytes;
    module.tensor_count++;
    index.tensors.push_back(t);
  }
}

// Cuts blobs greedily: a chunk takes strips while they fit, and at least one.
class Cutter {
 public:
  Cutter(LeafIndex& index, std::uint64_t chunk_bytes) : index_(index), chunk_bytes_(chunk_bytes) {}

  std::uint64_t end() const { return file_offset_; }

  void cut_module(std::uint32_t number) {
    ModuleEntry& module = index_.modules[number];
    module_ = number;
    begin_ = end_ = 0;
    module.first_chunk = static_cast<std::uint32_t>(index_.chunks.size());
    if (module.kind == ModuleKind::vectors) {
      add(module.bytes / kLine, kLine);
    } else {
      for (std::size_t t = module.first_tensor; t < std::size_t{module.first_tensor} + module.tensor_count; t++)
        add(index_.tensors[t].strips(), index_.tensors[t].strip_bytes());
    }
    close();
    module.chunk_count = static_cast<std::uint32_t>(index_.chunks.size()) - module.first_chunk;
  }

 private:
  void add(std::uint64_t pieces, std::uint64_t piece_bytes) {
    while (pieces > 0) {
      const std::uint64_t used = end_ - begin_;
      std::uint64_t fit = used < chunk_bytes_ ? std::min(pieces, (chunk_bytes_ - used) / piece_bytes) : 0;
      if (fit == 0 && used > 0) {
        close();
        continue;
      }
      if (fit == 0) fit = 1;
      end_ += fit * piece_bytes;
      pieces -= fit;
    }
  }

  void close() {
    if (end_ == begin_) return;
    if (index_.chunks.size() == LeafLimits::kChunks)
      throw Error(ErrorKind::unsupported, "model", "needs more than " + std::to_string(LeafLimits::kChunks) + " chunks",
                  "use larger chunks");
    const auto bytes = static_cast<std::uint32_t>(end_ - begin_);
    index_.chunks.push_back(
        {.module = module_, .module_offset = begin_, .raw_bytes = bytes, .stored_bytes = bytes, .file_offset = file_offset_});
    file_offset_ += round_up(bytes, kPage);
    begin_ = end_;
  }

  LeafIndex& index_;
  std::uint64_t chunk_bytes_;
  std::uint64_t file_offset_ = kHeaderBytes;
  std::uint32_t module_ = 0;
  std::uint64_t begin_ = 0, end_ = 0;  // of the chunk that is being filled
};

// Shapes are those of the model: only then are sums and products of them safe.
void check_shapes(const ModelDescription& model, std::span<const TensorPlan> tensors, std::span<const std::size_t> order) {
  std::size_t i = 0;
  for (const ExpectedTensor& expected : expected_tensors(model)) {
    const TensorPlan* plan = i < order.size() ? &tensors[order[i]] : nullptr;
    const std::string place = "tensor " + tensor_place(expected.role, expected.layer);
    if (!plan || plan->role != expected.role || plan->layer != expected.layer) {
      if (!expected.optional) throw Error(ErrorKind::bad_file, place, "is missing, or another comes twice");
      continue;
    }
    if (plan->rows != expected.rows || plan->k != expected.k)
      throw Error(ErrorKind::bad_file, place,
                  "has " + std::to_string(plan->rows) + " x " + std::to_string(plan->k) + ", the model asks for " +
                      std::to_string(expected.rows) + " x " + std::to_string(expected.k));
    if (!quant::find_format(plan->format))
      throw Error(ErrorKind::unsupported, place, "format " + std::to_string(static_cast<unsigned>(plan->format)) + " is not known");
    i++;
  }
  if (i != order.size())
    throw Error(ErrorKind::bad_file, "tensor " + tensor_place(tensors[order[i]].role, tensors[order[i]].layer),
                "comes twice, or the model does not ask for it");
}

}  // namespace

LeafLayout make_layout(const ModelDescription& model, std::span<const TensorPlan> tensors, std::uint64_t chunk_bytes) {
  if (chunk_bytes < kLine || chunk_bytes > kMaxChunkBytes)
    throw Error(ErrorKind::usage, "chunk size",
                std::to_string(chunk_bytes) + " bytes, allowed are 64 to " + std::to_string(kMaxChunkBytes));
  const std::string file = model.name.empty() ? "model" : model.name;
  const std::string description = to_json_text(model);  // validates
  LeafLayout layout;
  layout.index.model = model;
  layout.plan_of_tensor.resize(tensors.size());
  std::iota(layout.plan_of_tensor.begin(), layout.plan_of_tensor.end(), std::size_t{0});
  std::stable_sort(layout.plan_of_tensor.begin(), layout.plan_of_tensor.end(), [&](std::size_t a, std::size_t b) {
    return tensor_order(tensors[a].role, tensors[a].layer) < tensor_order(tensors[b].role, tensors[b].layer);
  });
  LeafIndex& index = layout.index;
  check_shapes(model, tensors, layout.plan_of_tensor);
  add_tensors(index, tensors, layout.plan_of_tensor);
  for (const TensorEntry& t : index.tensors)  // before chunks are cut: a strip that no chunk can hold
    if (t.strip_bytes() > kMaxChunkBytes)
      throw Error(ErrorKind::unsupported, "tensor " + tensor_place(t.role, t.layer),
                  "16 rows of " + std::to_string(t.k) + " need " + std::to_string(t.strip_bytes()) +
                      " bytes in this format, a chunk holds " + std::to_string(kMaxChunkBytes),
                  "choose a smaller format");
  Cutter cutter(index, chunk_bytes / kLine * kLine);
  for (std::uint32_t m = 0; m < index.modules.size(); m++) cutter.cut_module(m);
  index.embedding_tile_hashes.resize(tile_count(index));
  index.file_bytes = round_up(cutter.end() + index_bytes_of(description.size(), index.modules.size(), index.tensors.size(),
                                                            index.chunks.size(), index.embedding_tile_hashes.size()),
                              kPage);
  check_index(index, cutter.end(), file);
  return layout;
}

LeafIndex lay_out_leaf(const ModelDescription& model, std::span<const TensorPlan> tensors, std::uint64_t chunk_bytes) {
  return make_layout(model, tensors, chunk_bytes).index;
}

}  // namespace leafcutter::compress
