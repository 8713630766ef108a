#include "runtime/layer_weights.h"

#include "base/error.h"

namespace leafcutter::runtime {
namespace {

using compress::LeafIndex;
using compress::ModuleKind;
using compress::TensorEntry;
using compress::TensorRole;

class Resolver {
 public:
  Resolver(const LeafIndex& index, std::span<const std::byte> vectors, kernels::Isa isa, bool f32_activations, const std::string& file)
      : index_(index), vectors_(vectors), isa_(isa), f32_activations_(f32_activations), file_(file) {}

  const float* vector(TensorRole role, std::uint32_t layer) const {
    const TensorEntry* tensor = index_.find(role, layer);
    return tensor ? reinterpret_cast<const float*>(vectors_.data() + tensor->offset) : nullptr;
  }

  const float* needed_vector(TensorRole role, std::uint32_t layer) const {
    const float* values = vector(role, layer);
    if (!values) missing(role, layer);
    return values;
  }

  Matrix matrix(TensorRole role, std::uint32_t layer, const float* bias = nullptr) const {
    Matrix matrix;
    matrix.tensor = index_.find(role, layer);
    if (!matrix.tensor) missing(role, layer);
    const bool quantized = kernels::takes_groups(matrix.tensor->layout);
    matrix.decoded = quantized && f32_activations_;
    matrix.kernel = kernels::matmul_kernel(matrix.decoded ? kernels::Layout::f32 : matrix.tensor->layout, isa_);
    if (!matrix.kernel)
      throw Error(ErrorKind::unsupported, file_ + ", " + compress::role_name(role) + " of layer " + std::to_string(layer),
                  "no product kernel for its layout " + std::to_string(static_cast<int>(matrix.tensor->layout)));
    matrix.takes_groups = quantized && !matrix.decoded;
    matrix.factor = 1 / matrix.tensor->divisor;
    matrix.bias = bias;
    return matrix;
  }

 private:
  [[noreturn]] void missing(TensorRole role, std::uint32_t layer) const {
    throw Error(ErrorKind::bad_file, file_, std::string("has no ") + compress::role_name(role) + " of layer " + std::to_string(layer));
  }

  const LeafIndex& index_;
  std::span<const std::byte> vectors_;
  kernels::Isa isa_;
  bool f32_activations_;
  const std::string& file_;
};

}  // namespace

kernels::Gate gate_of(compress::ActivationKind kind) {
  switch (kind) {
    case compress::ActivationKind::gelu_erf:
      return kernels::Gate::gelu_erf;
    case compress::ActivationKind::gelu_tanh:
      return kernels::Gate::gelu_tanh;
    case compress::ActivationKind::silu:
      break;
  }
  return kernels::Gate::silu;
}

const compress::ModuleEntry* find_module(const LeafIndex& index, ModuleKind kind, std::uint32_t layer) {
  for (const compress::ModuleEntry& module : index.modules)
    if (module.kind == kind && module.layer == layer) return &module;
  return nullptr;
}

ModelWeights resolve_weights(const LeafIndex& index, std::span<const std::byte> vectors, kernels::Isa isa, bool f32_activations,
                             const std::string& file) {
  const Resolver resolve(index, vectors, isa, f32_activations, file);
  ModelWeights weights;
  weights.embedding = index.find(TensorRole::embedding);
  weights.output_norm = resolve.needed_vector(TensorRole::output_norm, 0);
  if (index.model.position == compress::PositionKind::segment_relative_bias)
    weights.position_bias = resolve.needed_vector(TensorRole::position_bias, 0);
  const bool tied = index.model.tied_head;
  weights.head = resolve.matrix(tied ? TensorRole::embedding : TensorRole::head, 0);
  weights.head_module = find_module(index, tied ? ModuleKind::embedding : ModuleKind::head);
  for (std::uint32_t l = 0; l < index.model.layers.size(); l++) {
    LayerWeights layer;
    if (index.model.layers[l].has_attention) {
      AttentionWeights a;
      a.module = find_module(index, ModuleKind::attention, l);
      a.norm = resolve.needed_vector(TensorRole::attention_norm, l);
      a.q = resolve.matrix(TensorRole::attention_q, l, resolve.vector(TensorRole::attention_q_bias, l));
      a.k = resolve.matrix(TensorRole::attention_k, l, resolve.vector(TensorRole::attention_k_bias, l));
      a.v = resolve.matrix(TensorRole::attention_v, l, resolve.vector(TensorRole::attention_v_bias, l));
      a.out = resolve.matrix(TensorRole::attention_out, l, resolve.vector(TensorRole::attention_out_bias, l));
      layer.attention = a;
    }
    if (index.model.layers[l].has_feed_forward) {
      FeedForwardWeights f;
      f.module = find_module(index, ModuleKind::feed_forward, l);
      f.norm = resolve.needed_vector(TensorRole::feed_forward_norm, l);
      f.gate = resolve.matrix(TensorRole::feed_forward_gate, l, resolve.vector(TensorRole::feed_forward_gate_bias, l));
      f.up = resolve.matrix(TensorRole::feed_forward_up, l, resolve.vector(TensorRole::feed_forward_up_bias, l));
      f.down = resolve.matrix(TensorRole::feed_forward_down, l, resolve.vector(TensorRole::feed_forward_down_bias, l));
      layer.feed_forward = f;
    }
    weights.layers.push_back(layer);
  }
  return weights;
}

}  // namespace leafcutter::runtime
