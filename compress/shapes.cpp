#include "compress/shapes.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "compress/expected_tensors.h"
#include "kernels/strip_shape.h"

namespace leafcutter::compress {
namespace {

using kernels::kStripRows;
using quant::FormatId;

struct Shape {
  const char* name;
  std::uint32_t layers, dim, heads, kv_heads, ff, vocab;
  bool tied;
  double theta;
  std::uint64_t context;
};

constexpr Shape kShapes[] = {
    {"llama-1.1b", 22, 2048, 32, 4, 5632, 32000, false, 10000, 2048},
    {"csg-wukong-1b", 22, 2048, 32, 4, 5632, 32000, false, 10000, 2048},
    {"chuxin-1.6b", 24, 2048, 32, 32, 5632, 102400, false, 10000, 4096},
    {"chuxin-1.6b-1m", 24, 2048, 32, 32, 5632, 102400, false, 10000, 1u << 20},
    {"fox-1-1.6b", 32, 2048, 16, 4, 4096, 256000, true, 10000, 8192},
    {"smollm2-135m", 30, 576, 9, 3, 1536, 49152, true, 100000, 8192},
    {"llama-48x4096", 48, 4096, 32, 32, 10240, 30720, false, 10000, 2048},
};

// CPM-Ant is 48 layers of width 4096 in every size; the smaller ones were cut from the larger: parts of layers first, then heads and feed-forward widths.
struct AntShape {
  const char* name;
  std::uint64_t attention, feed_forward;  // bit i: layer i has the part
  std::uint32_t heads, ff;
};

constexpr std::uint32_t kAntLayers = 48;

constexpr std::uint64_t layer_bits(std::initializer_list<unsigned> layers) {
  std::uint64_t bits = 0;
  for (unsigned layer : layers) bits |= std::uint64_t{1} << layer;
  return bits;
}

constexpr std::uint64_t kAll = (std::uint64_t{1} << kAntLayers) - 1;
constexpr std::uint64_t kAttention7 = kAll & ~layer_bits({13, 15, 19, 25, 28, 32, 34, 35, 38, 43, 45});
constexpr std::uint64_t kFeedForward7 = kAll & ~layer_bits({2, 3, 4, 6, 13, 14, 21, 25, 26, 30, 33, 34, 35, 41, 43, 46});
constexpr std::uint64_t kAttention1 =
    layer_bits({0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 16, 18, 20, 23, 24, 27, 29, 30, 31, 33, 36, 39, 40, 42});
constexpr std::uint64_t kFeedForward1 = layer_bits({0, 5, 7, 9, 11, 16, 17, 18, 20, 22, 24, 27, 28, 31, 36, 37, 39, 40, 44, 45, 47});

constexpr AntShape kAntShapes[] = {
    {"cpm-ant-10b", kAll, kAll, 32, 10240},
    {"cpm-ant-7b", kAttention7, kFeedForward7, 32, 10240},
    {"cpm-ant-3b", kAttention7, kFeedForward7, 20, 3735},
    {"cpm-ant-1b", kAttention1, kFeedForward1, 16, 700},
    {"cpm-ant-300m", kAttention1, kFeedForward1, 4, 350},
};

constexpr auto kShapeNames = [] {
  std::array<const char*, std::size(kShapes) + std::size(kAntShapes)> names{};
  std::size_t n = 0;
  for (const Shape& shape : kShapes) names[n++] = shape.name;
  for (const AntShape& shape : kAntShapes) names[n++] = shape.name;
  return names;
}();

ModelDescription cpm_ant(const AntShape& shape) {
  ModelDescription model;
  model.architecture = "cpm-ant";
  model.name = shape.name;
  model.source = "random weights";
  model.dim = 4096;
  model.vocab_size = 30720;
  model.norm_epsilon = 1e-6f;
  model.position = PositionKind::segment_relative_bias;
  model.segment_bias = {
      .prompt_types = 32, .prompt_length = 32, .segment_types = 32, .buckets = 512, .max_distance = 2048, .columns = shape.heads};
  model.context_length = model.segment_bias.max_distance;
  model.activation = ActivationKind::gelu_erf;
  model.tied_head = true;
  model.begin_id = 6;
  model.end_ids = {7};
  for (std::uint32_t i = 0; i < kAntLayers; i++) {
    LayerDescription layer;
    layer.has_attention = shape.attention >> i & 1;
    layer.has_feed_forward = shape.feed_forward >> i & 1;
    if (layer.has_attention) {
      layer.heads = layer.kv_heads = shape.heads;
      layer.head_dim = 128;
    }
    if (layer.has_feed_forward) layer.ff_width = shape.ff;
    model.layers.push_back(layer);
  }
  return model;
}

// splitmix64 of a counter: any strip can be made on its own, by any thread.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

void fill_random(Random& random, std::byte* to, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t word = random.bits();
    std::memcpy(to + i, &word, std::min<std::size_t>(8, bytes - i));
  }
}

// Codes uniform over their whole range: one width of the range is sqrt(12) standard deviations.
void random_groups(kernels::Layout layout, std::size_t k, float deviation, Random& random, std::byte* out) {
  const kernels::GroupShape shape = kernels::group_shape(layout);
  const std::size_t groups = (k + kernels::kGroupWidth - 1) / kernels::kGroupWidth;
  const float range = deviation * std::sqrt(12.0f), step = range / (shape.bits == 8 ? 255.0f : 15.0f);
  std::memset(out, 0, kernels::strip_bytes(layout, k));
  constexpr int kScale = 200;  // u8 scales lie around this
  for (std::size_t r = 0; r < kStripRows && shape.row_floats; r++) {
    const float d = shape.scale == kernels::GroupScale::u8 ? step / kScale : step, m = range / 2 / kScale;
    std::memcpy(out + 4 * r, &d, sizeof d);
    if (shape.minima) std::memcpy(out + 64 + 4 * r, &m, sizeof m);
  }
  for (std::size_t g = 0; g < groups; g++) {
    std::byte* block = out + shape.front + g / kernels::kGroupsPerBlock * shape.block_bytes();
    std::byte* head = block + g % kernels::kGroupsPerBlock * shape.group_head;
    std::byte* codes = block + shape.block_head() + g % kernels::kGroupsPerBlock * shape.group_codes;
    const std::uint64_t wobble = random.bits();
    for (std::size_t r = 0; r < kStripRows; r++) {
      const int varied = kScale - 20 + static_cast<int>(wobble >> (4 * (r % 16)) & 15) * 3;
      if (shape.scale == kernels::GroupScale::u8) {
        head[r] = static_cast<std::byte>(varied);
        if (shape.minima) head[kStripRows + r] = static_cast<std::byte>(varied);
      } else if (shape.scale == kernels::GroupScale::half) {
        const std::uint16_t scale = half_from_float(step * static_cast<float>(varied) / kScale),
                            minimum = half_from_float(-range / 2 * static_cast<float>(varied) / kScale);
        std::memcpy(head + 2 * r, &scale, sizeof scale);
        if (shape.minima) std::memcpy(head + 32 + 2 * r, &minimum, sizeof minimum);
      }
    }
    fill_random(random, codes, shape.group_codes);
    if (shape.bits == 8)
      for (std::size_t i = 0; i < shape.group_codes; i++)
        if (codes[i] == std::byte{0}) codes[i] = std::byte{1};  // as the quantizers: -127..127
  }
}

void random_floats(const quant::Format& format, std::size_t k, float deviation, Random& random, std::byte* out) {
  std::vector<float> rows(kStripRows * k);
  const float range = deviation * std::sqrt(12.0f);
  for (float& value : rows) value = (static_cast<float>(random.bits() >> 40) * 0x1p-24f - 0.5f) * range;
  format.encode(rows.data(), k, out);
}

// CPM-Ant's weights have a variance of 1; each product is divided by the root of its inputs.
bool divides_by_inputs(const ModelDescription& model) { return model.position == PositionKind::segment_relative_bias; }

void random_vector(const TensorPlan& tensor, std::uint64_t piece, Random& random, std::span<std::byte> out) {
  const bool table = tensor.role == TensorRole::position_bias;  // between -1 and 1; norms are 1
  const std::uint64_t at_once = rows_of_plain_piece(tensor.k), rows = std::min(at_once, tensor.rows - piece * at_once);
  for (std::uint64_t i = 0; i < rows * tensor.k; i++) {
    const float value = table ? static_cast<float>(random.bits() >> 40) * 0x1p-23f - 1 : 1;
    std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
  }
}

}  // namespace

std::span<const char* const> shape_names() { return kShapeNames; }

std::optional<ModelDescription> find_shape(const std::string& name) {
  for (const AntShape& shape : kAntShapes)
    if (name == shape.name) return cpm_ant(shape);
  for (const Shape& shape : kShapes) {
    if (name != shape.name) continue;
    ModelDescription model;
    model.architecture = "llama";
    model.name = shape.name;
    model.source = "random weights";
    model.dim = shape.dim;
    model.vocab_size = shape.vocab;
    model.context_length = shape.context;
    model.norm_epsilon = 1e-5f;
    model.rope.theta = shape.theta;
    model.tied_head = shape.tied;
    LayerDescription layer;
    layer.heads = shape.heads;
    layer.kv_heads = shape.kv_heads;
    layer.head_dim = shape.dim / shape.heads;
    layer.ff_width = shape.ff;
    model.layers.assign(shape.layers, layer);
    return model;
  }
  return std::nullopt;
}

std::vector<TensorPlan> plan_tensors(const ModelDescription& model, const FormatChoice& formats) {
  std::vector<TensorPlan> plan;
  for (const ExpectedTensor& tensor : expected_tensors(model)) {
    if (tensor.optional) continue;
    const FormatId format = is_vector_role(tensor.role) ? FormatId::f32 : format_for(formats, tensor.role, model.tied_head);
    const bool divided = divides_by_inputs(model) && !is_vector_role(tensor.role);
    plan.push_back({.role = tensor.role,
                    .layer = tensor.layer,
                    .format = format,
                    .rows = tensor.rows,
                    .k = tensor.k,
                    .divisor = divided ? std::sqrt(static_cast<float>(tensor.k)) : 1.0f});
  }
  return plan;
}

void synthesize_model(const ModelDescription& model, const FormatChoice& formats, std::uint64_t seed, const LeafWriterOptions& given,
                      NewFile& file, ThreadTeam& team, const WriteProgress& progress) {
  const std::vector<TensorPlan> plan = plan_tensors(model, formats);
  LeafWriterOptions options = given;
  if (options.chunk_bytes == 0) options.chunk_bytes = suitable_chunk_bytes(model, plan);
  const float residual = 1 / std::sqrt(2 * static_cast<float>(std::max<std::size_t>(model.layers.size(), 1)));
  const auto fill = [&](std::size_t index, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) {
    const TensorPlan& tensor = plan[index];
    const std::uint64_t tensor_seed = seed * 0x632be59bd9b4e019ull + index * 0x9e3779b97f4a7c15ull;
    if (is_vector_role(tensor.role)) {
      Random random(tensor_seed + begin * 0xd1342543de82ef95ull);
      return random_vector(tensor, begin, random, out);
    }
    const quant::Format& format = quant::format_of(tensor.format);
    const std::uint64_t strip_bytes = kernels::strip_bytes(format.layout, tensor.k);
    const bool adds = tensor.role == TensorRole::attention_out || tensor.role == TensorRole::feed_forward_down;
    const float deviation = (divides_by_inputs(model) ? 1.0f : 0.02f) * (adds ? residual : 1.0f);
    for (std::uint64_t s = begin; s < end; s++) {
      Random random(tensor_seed + s * 0xd1342543de82ef95ull);
      std::byte* strip = out.data() + (s - begin) * strip_bytes;
      if (format.lossless_float)
        random_floats(format, tensor.k, deviation, random, strip);
      else
        random_groups(format.layout, tensor.k, deviation, random, strip);
    }
  };
  write_leaf(file, model, plan, {}, options, fill, team, progress);
}

}  // namespace leafcutter::compress
