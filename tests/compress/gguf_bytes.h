// GGUF files made by hand: values of the metadata, tensors with their data, and the bytes of it all.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/checked.h"
#include "compress/gguf_header.h"

namespace leafcutter::compress::test {

class GgufBytes {
 public:
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> shape;  // the fastest dimension first
    std::uint32_t type = 0;            // ggml's id
    std::vector<std::byte> data;
    std::uint64_t offset_shift = 0;  // added to where it truly lies
  };

  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::vector<Tensor> tensors;

  template <class T>
  static std::string raw(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  static std::string text(const std::string& value) { return raw<std::uint64_t>(value.size()) + value; }

  // type: GGUF's id of the value, value: its bytes.
  GgufBytes& put(const std::string& key, GgufType type, const std::string& value) {
    metadata_ += text(key) + raw(static_cast<std::uint32_t>(type)) + value;
    count_++;
    return *this;
  }
  GgufBytes& put(const std::string& key, std::uint32_t value) { return put(key, GgufType::u32, raw(value)); }
  GgufBytes& put(const std::string& key, float value) { return put(key, GgufType::f32, raw(value)); }
  GgufBytes& put(const std::string& key, bool value) { return put(key, GgufType::boolean, raw<std::uint8_t>(value)); }
  GgufBytes& put(const std::string& key, const char* value) { return put(key, GgufType::string, text(value)); }
  GgufBytes& put_array(const std::string& key, GgufType element, std::uint64_t count, const std::string& values) {
    return put(key, GgufType::array, raw(static_cast<std::uint32_t>(element)) + raw(count) + values);
  }
  GgufBytes& put_texts(const std::string& key, const std::vector<std::string>& values) {
    std::string all;
    for (const std::string& value : values) all += text(value);
    return put_array(key, GgufType::string, values.size(), all);
  }

  std::string header() const {
    std::string out = "GGUF" + raw(version) + raw<std::uint64_t>(tensors.size()) + raw(count_) + metadata_;
    std::uint64_t at = 0;
    for (const Tensor& tensor : tensors) {
      out += text(tensor.name) + raw(static_cast<std::uint32_t>(tensor.shape.size()));
      for (const std::uint64_t n : tensor.shape) out += raw(n);
      out += raw(tensor.type) + raw(at + tensor.offset_shift);
      at = round_up(at + tensor.data.size(), alignment);
    }
    return out;
  }

  std::vector<std::byte> file() const {
    const std::string begin = header();
    const auto bytes = std::as_bytes(std::span(begin));
    std::vector<std::byte> out(bytes.begin(), bytes.end());
    for (const Tensor& tensor : tensors) {
      out.resize(round_up(out.size(), alignment));
      out.insert(out.end(), tensor.data.begin(), tensor.data.end());
    }
    return out;
  }

 private:
  std::string metadata_;
  std::uint64_t count_ = 0;
};

inline std::vector<std::byte> bytes_of_floats(const std::vector<float>& values) {
  std::vector<std::byte> out(values.size() * sizeof(float));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

// A LLaMA model of two layers with f32 weights, value i of tensor t being t + i / 1024.
inline GgufBytes small_llama_gguf() {
  GgufBytes g;
  g.put("general.architecture", "llama");
  g.put("llama.embedding_length", 16u).put("llama.block_count", 2u).put("llama.context_length", 64u);
  g.put("llama.attention.head_count", 4u).put("llama.attention.head_count_kv", 2u).put("llama.feed_forward_length", 24u);
  g.put("llama.attention.layer_norm_rms_epsilon", 1e-5f).put("llama.rope.dimension_count", 4u);
  const auto add = [&](const std::string& name, std::uint64_t k, std::uint64_t rows) {
    std::vector<float> values(k * rows);
    for (std::size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(g.tensors.size()) + static_cast<float>(i) / 1024;
    g.tensors.push_back(
        {name, rows == 1 ? std::vector<std::uint64_t>{k} : std::vector<std::uint64_t>{k, rows}, 0, bytes_of_floats(values)});
  };
  add("token_embd.weight", 16, 40);
  add("output_norm.weight", 16, 1);
  add("output.weight", 16, 40);
  for (const char* layer : {"blk.0.", "blk.1."}) {
    const std::string l = layer;
    add(l + "attn_norm.weight", 16, 1);
    add(l + "attn_q.weight", 16, 16);
    add(l + "attn_k.weight", 16, 8);
    add(l + "attn_v.weight", 16, 8);
    add(l + "attn_output.weight", 16, 16);
    add(l + "ffn_norm.weight", 16, 1);
    add(l + "ffn_gate.weight", 16, 24);
    add(l + "ffn_up.weight", 16, 24);
    add(l + "ffn_down.weight", 24, 16);
  }
  return g;
}

}  // namespace leafcutter::compress::test
