// Names of tensors in other programs' checkpoints, as tables: those of the model and those of a layer, behind a prefix and the layer's number.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "compress/tensor_role.h"

namespace leafcutter::compress {

struct TensorPlace {
  TensorRole role{};
  std::uint32_t layer = 0;
};

struct TensorName {
  std::string_view text;
  TensorRole role;
};

struct TensorNames {
  std::span<const TensorName> model;
  std::string_view layers;  // "model.layers.": a number, a dot and a name of `layer` follow
  std::span<const TensorName> layer;

  // None: no tensor of the model.
  std::optional<TensorPlace> find(std::string_view name) const;
};

// DataParallel puts "module." before every name, and programs differ about what else they put there.
std::string_view without_prefix(std::string_view name, std::string_view prefix);
constexpr std::string_view kDataParallelPrefix = "module.";

}  // namespace leafcutter::compress
