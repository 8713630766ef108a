#include "compress/checkpoint_tensors.h"

#include "base/error.h"
#include "compress/printable_text.h"
#include "compress/safetensors_header.h"
#include "compress/torch_checkpoint.h"

namespace leafcutter::compress {
namespace {

std::optional<quant::SourceType> float_type(const std::string& dtype) {
  if (dtype == "F32") return quant::SourceType::f32;
  if (dtype == "F16") return quant::SourceType::f16;
  if (dtype == "BF16") return quant::SourceType::bf16;
  if (dtype == "F64") return quant::SourceType::f64;
  return std::nullopt;
}

void add_safetensors(File& file, std::size_t index, CheckpointFiles& all) {
  std::byte first[8];
  if (file.size() < sizeof first)
    throw Error(ErrorKind::bad_file, file.name(), "has " + std::to_string(file.size()) + " bytes, no header", "is the download complete?");
  read_exactly(file, 0, first, "length of the header");
  std::vector<std::byte> header(safetensors_header_bytes(first, file.size(), file.name()));
  read_exactly(file, sizeof first, header, "header");
  for (SafetensorsEntry& entry : parse_safetensors_header(header, file.size(), file.name()))
    all.tensors.push_back({.name = std::move(entry.name),
                           .file = index,
                           .offset = entry.offset,
                           .type = float_type(entry.dtype),
                           .dtype = printable_text(entry.dtype, 16),
                           .shape = std::move(entry.shape)});
}

bool is_contiguous(const TorchTensor& tensor) {
  std::uint64_t stride = 1;  // the product of the sizes is bounded by the storage, or one is repeated and a stride differs
  for (std::size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] == 1) continue;
    if (tensor.strides[i] != stride) return false;
    stride *= tensor.shape[i];
  }
  return true;
}

void add_torch(File& file, std::size_t index, CheckpointFiles& all) {
  TorchCheckpoint checkpoint = read_torch_checkpoint(file);
  for (TorchTensor& tensor : checkpoint.tensors)
    all.tensors.push_back({.name = std::move(tensor.name),
                           .file = index,
                           .offset = tensor.offset,
                           .type = tensor.type,
                           .dtype = tensor.dtype,
                           .shape = tensor.shape,
                           .contiguous = is_contiguous(tensor)});
  all.notes.insert(all.notes.end(), checkpoint.notes.begin(), checkpoint.notes.end());
}

}  // namespace

void add_checkpoint_file(const std::filesystem::path& path, CheckpointFiles& all) {
  const std::shared_ptr<File> file = open_file(path.string());
  all.files.push_back(file);
  const std::size_t index = all.files.size() - 1;
  path.extension() == ".safetensors" ? add_safetensors(*file, index, all) : add_torch(*file, index, all);
}

}  // namespace leafcutter::compress
