#include "compress/compress_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "compress/expected_tensors.h"
#include "compress/strided_rows.h"

namespace leafcutter::compress {
namespace {

using kernels::kStripRows;
using quant::FormatId;

constexpr float kLargestHalf = 65504;
constexpr std::size_t kReadBytes = std::size_t{4} << 20;  // rows of a strip are read together up to this much

const SourceTensor& source_of(const CheckpointSource& source, TensorRole role, std::uint32_t layer) {
  for (const SourceTensor& tensor : source.tensors)
    if (tensor.role == role && (tensor.layer == layer || !is_layer_role(role))) return tensor;
  throw Error(ErrorKind::bad_file, source.files.empty() ? "checkpoint" : source.files.front()->name(),
              std::string("has no ") + role_name(role) + " of layer " + std::to_string(layer));
}

// Buffers of one thread, kept from strip to strip.
struct Scratch {
  std::vector<std::byte> bytes;
  std::vector<float> rows;
};

class StripFiller {
 public:
  StripFiller(const CheckpointSource& source, std::span<const TensorPlan> plan, bool allow_nonfinite)
      : source_(source), allow_nonfinite_(allow_nonfinite) {
    for (const TensorPlan& tensor : plan)
      targets_.push_back({&source_of(source, tensor.role, tensor.layer), &quant::format_of(tensor.format), is_vector_role(tensor.role)});
  }

  void operator()(std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) const {
    const Target& target = targets_[tensor];
    thread_local Scratch scratch;
    if (target.vector) return vector(target, begin, scratch, out);
    const std::uint64_t strip_bytes = kernels::strip_bytes(target.format->layout, target.source->k);
    for (std::uint64_t s = begin; s < end; s++) strip(target, s, scratch, out.subspan((s - begin) * strip_bytes, strip_bytes));
  }

 private:
  struct Target {
    const SourceTensor* source;
    const quant::Format* format;
    bool vector;
  };

  std::string place(const SourceTensor& tensor) const { return source_.files[tensor.file]->name() + ", tensor " + tensor.name; }

  // The bytes of the strip's rows; runs of neighbouring source rows are read together.
  void read_rows(const SourceTensor& tensor, std::uint64_t first, std::size_t count, std::uint64_t row_bytes,
                 std::vector<std::byte>& bytes) const {
    bytes.resize(count * row_bytes);
    const auto source_row = [&](std::uint64_t row) { return tensor.rows == 1 ? 0 : tensor.source_row(row); };
    if (tensor.strides) {
      for (std::size_t r = 0; r < count; r++)
        strided_.read(*source_.files[tensor.file], tensor, source_row(first + r), std::span(bytes).subspan(r * row_bytes, row_bytes));
      return;
    }
    for (std::size_t r = 0; r < count;) {
      const std::uint64_t from = source_row(first + r);
      std::size_t run = 1;
      while (r + run < count && source_row(first + r + run) == from + run && (run + 1) * row_bytes <= kReadBytes) run++;
      read_exactly(*source_.files[tensor.file], tensor.offset + from * row_bytes, std::span(bytes).subspan(r * row_bytes, run * row_bytes),
                   "tensor " + tensor.name);
      r += run;
    }
  }

  void strip(const Target& target, std::uint64_t index, Scratch& scratch, std::span<std::byte> out) const {
    const SourceTensor& tensor = *target.source;
    const std::uint64_t first = index * kStripRows;
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(kStripRows, tensor.rows - first)), k = tensor.k;
    const std::uint64_t row_bytes = quant::source_row_bytes(tensor.type, k);
    read_rows(tensor, first, count, row_bytes, scratch.bytes);
    scratch.rows.resize(kStripRows * k);
    for (std::size_t r = 0; r < count; r++)
      quant::decode_source_row(tensor.type, std::span(scratch.bytes).subspan(r * row_bytes, row_bytes), k, &scratch.rows[r * k]);
    std::fill(scratch.rows.begin() + static_cast<std::ptrdiff_t>(count * k), scratch.rows.end(), 0.0f);
    check_values(target, first, count, scratch.rows);
    const FormatId* exact = quant::source_type_info(tensor.type).exact;
    if (exact && *exact == target.format->id) {  // no rounding, and NaN stays the NaN that it is
      std::span<const std::byte> rows[kStripRows];
      for (std::size_t r = 0; r < count; r++) rows[r] = std::span(scratch.bytes).subspan(r * row_bytes, row_bytes);
      quant::transcode_strip(tensor.type, rows, k, out.data());
    } else {
      target.format->encode(scratch.rows.data(), k, out.data());
    }
  }

  void vector(const Target& target, std::uint64_t piece, Scratch& scratch, std::span<std::byte> out) const {
    const SourceTensor& tensor = *target.source;
    const std::uint64_t at_once = rows_of_plain_piece(tensor.k), begin = piece * at_once;
    const std::size_t rows = static_cast<std::size_t>(std::min(at_once, tensor.rows - begin));
    const std::uint64_t row_bytes = quant::source_row_bytes(tensor.type, tensor.k);
    read_rows(tensor, begin, rows, row_bytes, scratch.bytes);
    const std::uint64_t values = rows * tensor.k;
    scratch.rows.resize(values);
    quant::decode_source_row(tensor.type, scratch.bytes, values, scratch.rows.data());
    check_values(target, begin, rows, scratch.rows);
    // A bias of rotary rows was permuted with them.
    SourceTensor as_rows = tensor;
    as_rows.rows = values;
    for (std::uint64_t i = 0; i < values; i++) {
      const float value = scratch.rows[tensor.rope_heads > 0 ? as_rows.source_row(i) : i] / tensor.divisor;
      std::memcpy(out.data() + i * sizeof value, &value, sizeof value);
    }
  }

  void check_values(const Target& target, std::uint64_t first, std::size_t count, std::vector<float>& rows) const {
    const SourceTensor& tensor = *target.source;
    const std::span<float> values = std::span(rows).first(count * tensor.k);
    for (std::size_t at = 0; (at += quant::first_non_finite(values.subspan(at))) < values.size();) {
      if (!allow_nonfinite_)
        refuse(target, first, at, std::isnan(values[at]) ? "is not a number" : "is infinite",
               "--allow-nonfinite stores it all the same, as 0 in quantized formats");
      if (!target.format->lossless_float) values[at] = 0;
      at++;
    }
    if (target.format->id == FormatId::f16 && tensor.type != quant::SourceType::f16)
      for (std::size_t at = 0; at < values.size(); at++)
        if (std::isfinite(values[at]) && std::fabs(values[at]) > kLargestHalf)
          refuse(target, first, at, "is past the range of f16", "use --format bf16 or q8");
  }

  [[noreturn]] void refuse(const Target& target, std::uint64_t first, std::size_t at, const char* problem, const char* hint) const {
    const SourceTensor& tensor = *target.source;
    throw Error(ErrorKind::bad_file, place(tensor),
                "row " + std::to_string(first + at / tensor.k) + ", column " + std::to_string(at % tensor.k) + " " + problem, hint);
  }

  const CheckpointSource& source_;
  bool allow_nonfinite_;
  std::vector<Target> targets_;
  mutable StridedRows strided_;  // locks by itself
};

}  // namespace

std::uint64_t SourceTensor::source_row(std::uint64_t row) const {
  if (rope_heads == 0) return row;
  // The converter turns each head's rows [half][pair] into [pair][half]; row (half j, pair i) of a head lies at 2 i + j.
  const std::uint64_t head_dim = rows / rope_heads, half = head_dim / 2;
  const std::uint64_t head = row / head_dim, within = row % head_dim;
  return head * head_dim + 2 * (within % half) + within / half;
}

FormatId format_for(const FormatChoice& formats, TensorRole role, bool tied_head) {
  if (role == TensorRole::head) return formats.head.value_or(formats.body);
  if (role == TensorRole::embedding) {
    if (tied_head) return formats.head ? *formats.head : formats.embedding.value_or(formats.body);
    const bool quantized = !quant::format_of(formats.body).lossless_float;
    return formats.embedding.value_or(quantized ? FormatId::q8 : formats.body);
  }
  if (role == TensorRole::prompt_embedding || role == TensorRole::segment_embedding || role == TensorRole::position_bias)
    return formats.body == FormatId::f32 ? FormatId::f32 : FormatId::f16;
  return formats.body;
}

std::vector<TensorPlan> plan_tensors(const CheckpointSource& source, const FormatChoice& formats) {
  std::vector<TensorPlan> plan;
  for (const SourceTensor& tensor : source.tensors) {
    TensorPlan target{
        .role = tensor.role, .layer = tensor.layer, .format = FormatId::f32, .rows = tensor.rows, .k = tensor.k, .divisor = tensor.divisor};
    if (is_vector_role(tensor.role)) {
      target.divisor = 1;
    } else if (formats.keep) {
      const FormatId* exact = quant::source_type_info(tensor.type).exact;
      if (!exact)
        throw Error(ErrorKind::unsupported, source.files[tensor.file]->name() + ", tensor " + tensor.name,
                    std::string("--format keep has no exact format for ") + quant::source_type_info(tensor.type).name,
                    "choose a format such as q8");
      target.format = *exact;
    } else {
      target.format = format_for(formats, tensor.role, source.model.tied_head);
    }
    plan.push_back(target);
  }
  return plan;
}

std::uint64_t suitable_chunk_bytes(const ModelDescription& model, std::span<const TensorPlan> plan) {
  constexpr std::uint64_t kChunks = 96, kLeast = 512 << 10;
  std::uint64_t bytes = 0;
  for (const ModuleEntry& module : lay_out_leaf(model, plan).modules) bytes += module.bytes;
  return std::clamp(round_up(bytes / kChunks, kPage), kLeast, kMaxChunkBytes);
}

void compress_model(const CheckpointSource& source, const CompressOptions& options, NewFile& file, ThreadTeam& team,
                    const WriteProgress& progress) {
  for (const FormatId id :
       {options.formats.body, options.formats.embedding.value_or(FormatId::f32), options.formats.head.value_or(FormatId::f32)})
    if (!options.formats.keep && !quant::format_of(id).encode)
      throw Error(ErrorKind::unsupported, quant::format_of(id).name, "this format only comes from a GGUF of the same type",
                  "use --format keep, or q4, q8");
  const std::vector<TensorPlan> plan = plan_tensors(source, options.formats);
  const std::vector<std::byte> tokenizer = source.tokenizer ? to_section(*source.tokenizer) : std::vector<std::byte>();
  LeafWriterOptions writer = options.writer;
  if (writer.chunk_bytes == 0) writer.chunk_bytes = suitable_chunk_bytes(source.model, plan);
  const StripFiller filler(source, plan, options.allow_nonfinite);
  write_leaf(
      file, source.model, plan, tokenizer, writer,
      [&](std::size_t tensor, std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) { filler(tensor, begin, end, out); }, team,
      progress);
}

}  // namespace leafcutter::compress
