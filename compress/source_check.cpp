#include "compress/source_check.h"

#include <map>

#include "base/error.h"
#include "compress/expected_tensors.h"

namespace leafcutter::compress {
namespace {

std::string shape_text(std::uint64_t rows, std::uint64_t k) { return std::to_string(rows) + " x " + std::to_string(k); }

}  // namespace

void check_source_tensors(const CheckpointSource& source, const std::string& file) {
  std::map<std::uint64_t, const SourceTensor*> found;
  for (const SourceTensor& tensor : source.tensors)
    if (!found.emplace(tensor_order(tensor.role, tensor.layer), &tensor).second)
      throw Error(ErrorKind::bad_file, file + ", tensor " + tensor.name,
                  std::string("a second ") + role_name(tensor.role) + " of layer " + std::to_string(tensor.layer));
  for (const ExpectedTensor& expected : expected_tensors(source.model)) {
    const auto at = found.find(tensor_order(expected.role, expected.layer));
    if (at == found.end()) {
      if (expected.optional) continue;
      const std::string layer = is_layer_role(expected.role) ? " of layer " + std::to_string(expected.layer) : "";
      throw Error(ErrorKind::bad_file, file, std::string("has no ") + role_name(expected.role) + layer, "is a shard missing?");
    }
    const SourceTensor& tensor = *at->second;
    if (tensor.rows != expected.rows || tensor.k != expected.k)
      throw Error(ErrorKind::bad_file, file + ", tensor " + tensor.name,
                  "expected " + shape_text(expected.rows, expected.k) + ", found " + shape_text(tensor.rows, tensor.k),
                  "config and weights do not belong together");
    found.erase(at);
  }
  if (!found.empty()) {
    const SourceTensor& tensor = *found.begin()->second;
    throw Error(ErrorKind::bad_file, file + ", tensor " + tensor.name,
                "belongs to no layer of the model's " + std::to_string(source.model.layers.size()));
  }
}

}  // namespace leafcutter::compress
