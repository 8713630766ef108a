#include "tools/planned_index.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "compress/checkpoint_source.h"
#include "compress/compress_model.h"
#include "compress/leaf_reader.h"
#include "compress/leaf_writer.h"
#include "compress/shapes.h"
#include "tools/name_list.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

compress::FormatChoice choice_of(const std::string& name) {
  compress::FormatChoice choice;
  choice.keep = name == "keep";
  if (choice.keep || name.empty()) return choice;
  const quant::Format* format = quant::find_format(name);
  if (!format || !format->encode)
    throw Error(ErrorKind::unsupported, "--format " + name, "is no format to compress to", "q4, q8, q8row, f16, bf16, f32, keep");
  choice.body = format->id;
  return choice;
}

// As compress would write it.
compress::LeafIndex laid_out(const compress::ModelDescription& model, const std::vector<compress::TensorPlan>& plan) {
  return compress::lay_out_leaf(model, plan, compress::suitable_chunk_bytes(model, plan));
}

}  // namespace

bool has_formats(const std::string& model) { return !compress::find_shape(model) && !compress::looks_like_checkpoint(model); }

std::vector<std::string> formats_of(const std::string& model, const std::string& wanted) {
  const std::vector<std::string> formats = name_list(wanted);
  if (!formats.empty()) return formats;
  return has_formats(model) ? std::vector<std::string>{""} : std::vector<std::string>{"q4", "q8"};
}

PlannedIndex index_to_plan(const std::string& model, const std::string& format) {
  PlannedIndex planned;
  const std::string shown = format.empty() ? "q4" : format;
  if (const auto shape = compress::find_shape(model)) {
    if (format == "keep") throw Error(ErrorKind::unsupported, "--format keep", "a shape has no weights to keep", "name a format");
    planned.index = laid_out(*shape, compress::plan_tensors(*shape, choice_of(format)));
    planned.what = fmt::format("the shape {} as {}", model, shown);
  } else if (compress::looks_like_checkpoint(model)) {
    compress::CheckpointSource source = compress::open_checkpoint(model);
    planned.index = laid_out(source.model, compress::plan_tensors(source, choice_of(format)));
    planned.what = fmt::format("{} as {}", model, shown);
    planned.disk_file = source.files.front()->name();
    if (source.tokenizer) planned.tokenizer = std::make_unique<runtime::Tokenizer>(std::move(*source.tokenizer), model);
  } else {
    if (!format.empty()) throw Error(ErrorKind::unsupported, "--format", "a .leaf has its formats already", "leave --format out");
    planned.index = compress::read_leaf_index(*open_file(model));
    planned.tokenizer = load_tokenizer(model);
    planned.what = planned.disk_file = model;
  }
  return planned;
}

}  // namespace leafcutter::tools
