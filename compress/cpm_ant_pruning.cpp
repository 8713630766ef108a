#include "compress/cpm_ant_pruning.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

// The layers whose part of this kind the uncut model had, in order: module i of a list lies in layer [i].
std::vector<std::uint32_t> layers_of_modules(const CpmAntConfig& config, std::size_t modules, bool CpmAntConfig::Removed::*part,
                                             const std::string& place) {
  std::vector<std::uint32_t> all, kept;
  for (std::uint32_t i = 0; i < config.layers; i++) {
    all.push_back(i);
    if (config.removed && !((*config.removed)[i].*part)) kept.push_back(i);
  }
  if (modules == all.size()) return all;
  if (config.removed && modules == kept.size()) return kept;
  throw Error(ErrorKind::bad_file, place,
              "has " + std::to_string(modules) + " entries, the model has " + std::to_string(config.layers) + " layers" +
                  (config.removed ? ", " + std::to_string(kept.size()) + " of them with such a part" : ""));
}

bool present(const json& object, const char* field) { return object.contains(field) && !object[field].is_null(); }

// Counts are written as floats.
std::uint32_t count_of(const json& value, std::uint64_t limit, const std::string& place) {
  const double number = value.is_number() ? value.get<double>() : -1;
  if (!(number >= 0 && number <= static_cast<double>(limit)) || number != std::floor(number))
    throw Error(ErrorKind::bad_file, place,
                "expected whole numbers from 0 to " + std::to_string(limit) + ", found " +
                    printable_text(value.dump(-1, ' ', true, json::error_handler_t::replace), 40));
  return static_cast<std::uint32_t>(number);
}

std::vector<std::optional<std::uint32_t>> counts(const json& side, const char* field, std::uint64_t limit, const CpmAntConfig& config,
                                                 bool CpmAntConfig::Removed::*part, const std::string& file) {
  std::vector<std::optional<std::uint32_t>> out(config.layers);
  if (!present(side, field)) return out;
  const std::string place = file + ", field " + field;
  if (!side[field].is_array()) throw Error(ErrorKind::bad_file, place, "is no list");
  const std::vector<std::uint32_t> layers = layers_of_modules(config, side[field].size(), part, place);
  for (std::size_t i = 0; i < layers.size(); i++) out[layers[i]] = count_of(side[field][i], limit, place);
  return out;
}

// {"3": true}: module 3 was removed. The lists beside it tell how many modules there were.
void add_removed(const json& side, const char* field, const char* list, const CpmAntConfig& config, bool CpmAntConfig::Removed::*part,
                 const std::string& file, std::vector<CpmAntConfig::Removed>& removed) {
  if (!present(side, field)) return;
  const std::string place = file + ", field " + field;
  if (!side[field].is_object()) throw Error(ErrorKind::bad_file, place, "is no map of indices");
  const std::size_t modules = present(side, list) && side[list].is_array() ? side[list].size() : config.layers;
  const std::vector<std::uint32_t> layers = layers_of_modules(config, modules, part, place);
  for (const auto& [key, value] : side[field].items()) {
    std::size_t index = 0;
    const auto [after, problem] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (problem != std::errc{} || after != key.data() + key.size() || index >= layers.size() || !value.is_boolean())
      throw Error(ErrorKind::bad_file, place,
                  "entry \"" + printable_text(key, 40) + "\" is no index below " + std::to_string(layers.size()) + " with true or false");
    if (value.get<bool>()) removed[layers[index]].*part = true;
  }
}

const WeightTensor* find_mask(const ListedWeights& masks, const char* name) {
  for (const WeightTensor& tensor : masks.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

// n x width, or n x 1 x width. 0: there is no such mask.
std::uint32_t mask_width(const ListedWeights& masks, const char* name, std::uint64_t limit) {
  const WeightTensor* mask = find_mask(masks, name);
  if (!mask) return 0;
  const auto& shape = mask->shape;
  const bool rows = shape.size() == 2 || (shape.size() == 3 && shape[1] == 1);
  if (!rows || !is_contiguous(*mask) || !mask->type || shape.back() == 0 || shape.back() > limit)
    throw Error(ErrorKind::bad_file, masks.files[mask->file]->name() + ", tensor " + name,
                "expected a row of up to " + std::to_string(limit) + " zeros and ones for each module");
  return static_cast<std::uint32_t>(shape.back());
}

std::vector<std::uint16_t> kept_of_row(const ListedWeights& masks, const WeightTensor& mask, std::size_t row, std::size_t width) {
  std::vector<std::byte> bytes(quant::source_row_bytes(*mask.type, width));
  std::vector<float> values(width);
  File& file = *masks.files[mask.file];
  read_exactly(file, mask.offset + row * bytes.size(), bytes, "tensor " + mask.name);
  quant::decode_source_row(*mask.type, bytes, width, values.data());
  std::vector<std::uint16_t> kept;
  for (std::size_t i = 0; i < width; i++) {
    if (values[i] != 0 && values[i] != 1)
      throw Error(ErrorKind::bad_file, file.name() + ", tensor " + mask.name,
                  "row " + std::to_string(row) + ", column " + std::to_string(i) + " is neither 0 nor 1");
    if (values[i] == 1) kept.push_back(static_cast<std::uint16_t>(i));
  }
  return kept;
}

}  // namespace

CpmAntSideFile cpm_ant_side_file(const json& side, const CpmAntConfig& config, const std::string& file) {
  using Removed = CpmAntConfig::Removed;
  CpmAntSideFile out;
  out.removed.resize(config.layers);
  out.heads = counts(side, "num_heads", ModelLimits::kHeads, config, &Removed::attention, file);
  out.head_dim = counts(side, "dim_head", ModelLimits::kHeadDim, config, &Removed::attention, file);
  out.ff_width = counts(side, "dim_ff", ModelLimits::kFeedForward, config, &Removed::feed_forward, file);
  add_removed(side, "att", "num_heads", config, &Removed::attention, file, out.removed);
  add_removed(side, "ffn", "dim_ff", config, &Removed::feed_forward, file, out.removed);
  if (const auto pairs = removed_parts(side, config.layers, file))
    for (std::uint32_t i = 0; i < config.layers; i++) {
      out.removed[i].attention |= (*pairs)[i].attention;
      out.removed[i].feed_forward |= (*pairs)[i].feed_forward;
    }
  return out;
}

CpmAntMasks cpm_ant_masks(const ListedWeights& masks, const CpmAntConfig& config) {
  CpmAntMasks out;
  out.heads = mask_width(masks, "num_heads", ModelLimits::kHeads);
  out.head_dim = mask_width(masks, "dim_head", ModelLimits::kHeadDim);
  out.ff_width = mask_width(masks, "dim_ff", ModelLimits::kFeedForward);
  out.kept_heads.resize(config.layers);
  if (const WeightTensor* mask = find_mask(masks, "num_heads")) {
    const std::string place = masks.files[mask->file]->name() + ", tensor num_heads";
    const std::vector<std::uint32_t> layers = layers_of_modules(config, mask->shape.front(), &CpmAntConfig::Removed::attention, place);
    for (std::size_t i = 0; i < layers.size(); i++) out.kept_heads[layers[i]] = kept_of_row(masks, *mask, i, out.heads);
  }
  return out;
}

}  // namespace leafcutter::compress
