#include "compress/tensor_names.h"

#include <charconv>

#include "compress/model_description.h"

namespace leafcutter::compress {
namespace {

std::optional<TensorPlace> find_in(std::span<const TensorName> names, std::string_view text, std::uint32_t layer) {
  for (const TensorName& known : names)
    if (text == known.text) return TensorPlace{known.role, layer};
  return std::nullopt;
}

}  // namespace

std::optional<TensorPlace> TensorNames::find(std::string_view name) const {
  if (!name.starts_with(layers)) return find_in(model, name, 0);
  name.remove_prefix(layers.size());
  std::uint32_t number = 0;
  const auto [after, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (problem != std::errc{} || after == name.data() + name.size() || *after != '.' || number >= ModelLimits::kLayers) return std::nullopt;
  return find_in(layer, name.substr(static_cast<std::size_t>(after - name.data()) + 1), number);
}

std::string_view without_prefix(std::string_view name, std::string_view prefix) {
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  return name;
}

}  // namespace leafcutter::compress
