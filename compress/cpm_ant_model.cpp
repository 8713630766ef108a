#include "compress/cpm_ant_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"
#include "compress/cpm_ant_names.h"
#include "compress/expected_tensors.h"
#include "compress/printable_text.h"
#include "compress/source_check.h"

namespace leafcutter::compress {
namespace {

using enum TensorRole;

std::string of_layer(std::uint32_t layer) { return " of layer " + std::to_string(layer); }

bool equal_bytes(File& a, std::uint64_t a_offset, File& b, std::uint64_t b_offset, std::uint64_t bytes) {
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;
  std::vector<std::byte> left(std::min(bytes, kPiece)), right(left.size());
  for (std::uint64_t done = 0; done < bytes; done += left.size()) {
    const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left.size(), bytes - done));
    read_exactly(a, a_offset + done, std::span(left).first(size), "head");
    read_exactly(b, b_offset + done, std::span(right).first(size), "embedding");
    if (std::memcmp(left.data(), right.data(), size) != 0) return false;
  }
  return true;
}

class Builder {
 public:
  Builder(CpmAntCheckpoint checkpoint, bool uncut_divisors, const std::string& place)
      : config_(std::move(checkpoint.config)),
        side_(std::move(checkpoint.side)),
        masks_(std::move(checkpoint.masks)),
        uncut_divisors_(uncut_divisors),
        place_(place) {
    source_.files = std::move(checkpoint.weights.files);
    for (const WeightTensor& tensor : checkpoint.weights.tensors) take(tensor);
  }

  CheckpointSource build() {
    if (uncut_divisors_ && !config_.live)
      throw Error(ErrorKind::unsupported, "--divisors uncut", "Hugging Face's weights have their divisors in them", "leave the flag out");
    describe_model();
    split_embedding();
    resolve_head();
    ModelDescription& model = source_.model;
    model.layers.resize(config_.layers);
    for (std::uint32_t i = 0; i < config_.layers; i++) {
      if (has_attention(i))
        describe_attention(i, model.layers[i]);
      else
        model.layers[i].has_attention = false;
      if (has_feed_forward(i))
        describe_feed_forward(i, model.layers[i]);
      else
        model.layers[i].has_feed_forward = false;
    }
    if (std::none_of(model.layers.begin(), model.layers.end(),
                     [](const LayerDescription& l) { return l.has_attention || l.has_feed_forward; }))
      throw Error(ErrorKind::bad_file, place_, "no layer has any weights", "is it a CPM-Ant checkpoint?");
    tell("attention", silently_without_attention_);
    tell("feed-forward", silently_without_feed_forward_);
    for (auto& [key, tensor] : found_) {
      tensor.divisor = divisor_of(tensor);
      source_.tensors.push_back(std::move(tensor));
    }
    validate(model, place_);
    check_source_tensors(source_, place_);
    return std::move(source_);
  }

 private:
  static std::uint64_t key(TensorRole role, std::uint32_t layer = 0) { return tensor_order(role, layer); }
  const SourceTensor* find(TensorRole role, std::uint32_t layer = 0) const {
    const auto at = found_.find(key(role, layer));
    return at == found_.end() ? nullptr : &at->second;
  }

  std::string place_of(const SourceTensor& tensor) const { return source_.files[tensor.file]->name() + ", tensor " + tensor.name; }

  void take(const WeightTensor& tensor) {
    const std::string name = printable_text(tensor.name, 128), place = source_.files[tensor.file]->name() + ", tensor " + name;
    const auto where = cpm_ant_place(tensor.name);
    if (!where) throw Error(ErrorKind::bad_file, place, "is no tensor of a CPM-Ant model");
    SourceTensor out =
        source_tensor(tensor, is_vector_role(where->role) && where->role != position_bias, source_.files[tensor.file]->name());
    out.role = where->role;
    out.layer = where->layer;
    // Tables are cut by rows and compared byte by byte.
    if (out.strides && (out.role == embedding || out.role == head))
      throw Error(ErrorKind::unsupported, place, "its rows do not lie one behind the other", "save it as a contiguous tensor");
    if (!found_.emplace(key(out.role, out.layer), out).second)
      throw Error(ErrorKind::bad_file, place,
                  std::string("a second ") + role_name(out.role) + (is_layer_role(out.role) ? of_layer(out.layer) : ""));
  }

  void describe_model() {
    ModelDescription& model = source_.model;
    model.architecture = "cpm-ant";
    model.dim = config_.dim;
    model.vocab_size = config_.vocab_size;
    model.context_length = config_.segment_bias.max_distance;
    model.norm_epsilon = config_.norm_epsilon;
    model.position = PositionKind::segment_relative_bias;
    model.activation = ActivationKind::gelu_erf;
    model.segment_bias = config_.segment_bias;
    if (const SourceTensor* bias = find(position_bias))
      model.segment_bias.columns = static_cast<std::uint32_t>(std::min<std::uint64_t>(bias->k, ModelLimits::kHeads + 1));
    model.end_ids = config_.end_ids;
    model.begin_id = config_.begin_id;
  }

  std::uint64_t prompt_rows() const { return std::uint64_t{config_.segment_bias.prompt_types} * config_.segment_bias.prompt_length; }

  // Hugging Face keeps the prompt's rows behind the vocabulary's.
  void split_embedding() {
    const auto at = found_.find(key(embedding));
    if (at == found_.end()) return;  // named as missing later
    SourceTensor& table = at->second;
    if (find(prompt_embedding)) {
      if (!config_.live)
        throw Error(ErrorKind::bad_file, place_of(*find(prompt_embedding)),
                    "belongs to CPM-Live's form of the model, the config to Hugging Face's", "config and weights do not belong together");
      return;
    }
    const bool whole = table.rows == std::uint64_t{config_.vocab_size} + prompt_rows() && table.k == config_.dim;
    if (!whole && config_.live) return;  // the prompt's table is named as missing
    if (!whole)
      throw Error(ErrorKind::bad_file, place_of(table),
                  "expected " + std::to_string(config_.vocab_size + prompt_rows()) + " x " + std::to_string(config_.dim) +
                      " (vocabulary, then prompt rows), found " + std::to_string(table.rows) + " x " + std::to_string(table.k),
                  "config and weights do not belong together");
    SourceTensor prompt = table;
    prompt.role = prompt_embedding;
    prompt.rows = prompt_rows();
    prompt.offset = table.offset + std::uint64_t{config_.vocab_size} * quant::source_row_bytes(table.type, table.k);
    table.rows = config_.vocab_size;
    found_.emplace(key(prompt_embedding), prompt);
  }

  // Its own only where it differs from the embedding. transformers gave it prompt rows for a while, which mean nothing.
  void resolve_head() {
    source_.model.tied_head = true;
    const auto at = found_.find(key(head));
    if (at == found_.end()) return;
    SourceTensor& own = at->second;
    if (config_.live)
      throw Error(ErrorKind::bad_file, place_of(own), "CPM-Live's form of the model has no head of its own, and the config is CPM-Live's",
                  "config and weights do not belong together");
    if (own.k == config_.dim && own.rows == std::uint64_t{config_.vocab_size} + prompt_rows()) own.rows = config_.vocab_size;
    const SourceTensor* table = find(embedding);
    if (!table || own.rows != table->rows || own.k != table->k) {
      source_.model.tied_head = false;  // its shape is refused, or the embedding's absence
      return;
    }
    const bool same_place = own.file == table->file && own.offset == table->offset;
    const std::uint64_t bytes = own.rows * quant::source_row_bytes(own.type, own.k);
    const bool same = own.type == table->type &&
                      (same_place || equal_bytes(*source_.files[own.file], own.offset, *source_.files[table->file], table->offset, bytes));
    source_.model.tied_head = same;
    if (same) found_.erase(at);
  }

  bool has_attention(std::uint32_t layer) {
    constexpr TensorRole kParts[] = {attention_norm, attention_q, attention_k, attention_v, attention_out};
    return has_part(layer, kParts, &CpmAntConfig::Removed::attention, silently_without_attention_);
  }
  bool has_feed_forward(std::uint32_t layer) {
    constexpr TensorRole kParts[] = {feed_forward_norm, feed_forward_gate, feed_forward_up, feed_forward_down};
    return has_part(layer, kParts, &CpmAntConfig::Removed::feed_forward, silently_without_feed_forward_);
  }

  // The norm is a part's first role. What is missing without being removed is found by check_source_tensors.
  bool has_part(std::uint32_t layer, std::span<const TensorRole> roles, bool CpmAntConfig::Removed::*part,
                std::vector<std::uint32_t>& silently) {
    std::size_t there = 0;
    for (TensorRole role : roles) there += find(role, layer) ? 1 : 0;
    const bool by_config = config_.removed && (*config_.removed)[layer].*part, by_side = side_ && side_->removed[layer].*part;
    if (!config_.live) return there > 0 || !by_config;  // Hugging Face's code never looks at mask_modules
    if (by_config || by_side) {
      drop(layer, roles);
      return false;
    }
    // BMCook may write the matrices of a removed part back, without its norm.
    if (side_ && !find(roles.front(), layer)) {
      drop(layer, roles);
      silently.push_back(layer);
      return false;
    }
    if (there == 0 && !config_.removed) {
      silently.push_back(layer);
      return false;
    }
    return true;
  }

  void drop(std::uint32_t layer, std::span<const TensorRole> roles) {
    for (TensorRole role : roles)
      if (const SourceTensor* tensor = find(role, layer)) {
        source_.notes.push_back("tensor " + tensor->name + " was left out: that part of layer " + std::to_string(layer) + " was removed");
        found_.erase(key(role, layer));
      }
  }

  void tell(const char* part, const std::vector<std::uint32_t>& layers) {
    if (layers.empty()) return;
    std::string list;
    for (std::size_t i = 0; i < std::min<std::size_t>(layers.size(), 16); i++) list += (i ? ", " : "") + std::to_string(layers[i]);
    if (layers.size() > 16) list += ", ...";
    source_.notes.push_back(std::string("the ") + part + " part of layer " + list +
                            " is not in the file, though neither mask_modules nor the side file says so: taken as removed");
  }

  void describe_attention(std::uint32_t number, LayerDescription& layer) {
    const std::uint32_t by_side_heads = side_ ? side_->heads[number].value_or(0) : 0,
                        by_side_dim = side_ ? side_->head_dim[number].value_or(0) : 0;
    layer.head_dim = by_side_dim > 0 ? by_side_dim : config_.head_dim;
    layer.heads = by_side_heads > 0 ? by_side_heads : config_.heads;
    const bool cut_by_masks = masks_ && masks_->heads > 0 && number < masks_->kept_heads.size() && !masks_->kept_heads[number].empty();
    if (cut_by_masks) {
      const std::size_t kept = masks_->kept_heads[number].size();
      if (by_side_heads > 0 && by_side_heads != kept)
        throw Error(ErrorKind::bad_file, place_ + ", num_heads" + of_layer(number),
                    "the side file says " + std::to_string(by_side_heads) + ", the mask keeps " + std::to_string(kept),
                    "masks and checkpoint do not belong together");
      layer.heads = static_cast<std::uint32_t>(kept);
    }
    layer.kv_heads = layer.heads;
    const std::uint32_t columns = source_.model.segment_bias.columns;
    if (layer.heads == columns) return;  // head i reads column i
    if (cut_by_masks && masks_->heads == columns) {
      const std::vector<std::uint16_t>& kept = masks_->kept_heads[number];
      bool first_ones = true;
      for (std::size_t i = 0; i < kept.size(); i++) first_ones = first_ones && kept[i] == i;
      if (!first_ones) layer.bias_columns = kept;
      return;
    }
    if (layer.heads < columns && columns <= ModelLimits::kHeads)
      throw Error(ErrorKind::bad_file, place_ + ", layer " + std::to_string(number),
                  "kept " + std::to_string(layer.heads) + " of " + std::to_string(columns) +
                      " heads, and nothing tells which: columns of the position bias would be a guess",
                  "put the masks that it was cut with beside it as masks.pt");
    // More heads than columns, or columns past all limits: validate says so.
  }

  void describe_feed_forward(std::uint32_t number, LayerDescription& layer) {
    const std::uint32_t by_side = side_ ? side_->ff_width[number].value_or(0) : 0;
    layer.ff_width = by_side > 0 ? by_side : config_.ff_width;
  }

  std::uint64_t uncut_heads() const {
    return masks_ && masks_->heads > 0 ? masks_->heads : std::max(config_.heads, source_.model.segment_bias.columns);
  }
  std::uint64_t uncut_head_dim() const { return masks_ && masks_->head_dim > 0 ? masks_->head_dim : config_.head_dim; }
  std::uint64_t uncut_ff_width() const { return masks_ && masks_->ff_width > 0 ? masks_->ff_width : config_.ff_width; }

  float divisor_of(const SourceTensor& tensor) const {
    if (!config_.live || is_vector_role(tensor.role)) return 1;
    double inputs = static_cast<double>(tensor.k);
    if (uncut_divisors_ && tensor.role == attention_out) inputs = static_cast<double>(uncut_heads() * uncut_head_dim());
    if (uncut_divisors_ && tensor.role == feed_forward_down) inputs = static_cast<double>(uncut_ff_width());
    // Scores are divided by the root of the head's width: the cut one here, the uncut one there.
    if (uncut_divisors_ && tensor.role == attention_q && tensor.layer < source_.model.layers.size() &&
        source_.model.layers[tensor.layer].head_dim > 0)
      inputs *= static_cast<double>(uncut_head_dim()) / source_.model.layers[tensor.layer].head_dim;
    return static_cast<float>(std::sqrt(inputs));
  }

  CpmAntConfig config_;
  std::optional<CpmAntSideFile> side_;
  std::optional<CpmAntMasks> masks_;
  bool uncut_divisors_;
  std::string place_;
  CheckpointSource source_;
  std::map<std::uint64_t, SourceTensor> found_;
  std::vector<std::uint32_t> silently_without_attention_, silently_without_feed_forward_;
};

}  // namespace

CheckpointSource cpm_ant_source(CpmAntCheckpoint checkpoint, bool uncut_divisors, const std::string& place) {
  return Builder(std::move(checkpoint), uncut_divisors, place).build();
}

}  // namespace leafcutter::compress
