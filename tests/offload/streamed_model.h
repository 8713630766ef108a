// A model of made-up chunks for the pager: an index with one plain tensor a module, the file's bytes, and what each blob must be.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/checked.h"
#include "compress/chunk_codec.h"
#include "compress/leaf_index.h"
#include "compress/xxh3.h"
#include "offload/planner.h"

namespace leafcutter::offload::test {

struct StreamedModel {
  compress::LeafIndex index;
  std::vector<std::byte> file;
  std::vector<std::vector<std::byte>> blobs;
  std::vector<std::uint32_t> order;
};

struct ModelShape {
  std::size_t chunks = 12;
  std::uint32_t most_bytes = 3 * 4096;  // of a chunk
  double coded = 0;                     // share of the chunks with a codec
  std::uint64_t seed = 1;
};

// Modules of one to three chunks, attention and feed-forward in turn.
inline StreamedModel make_model(const ModelShape& shape) {
  std::mt19937_64 random(shape.seed);
  const auto up_to = [&](std::uint32_t most) { return std::uniform_int_distribution<std::uint32_t>(1, most)(random); };
  StreamedModel model;
  model.file.resize(compress::kPage);
  while (model.blobs.size() < shape.chunks) {
    compress::ModuleEntry module;
    const std::size_t number = model.index.modules.size();
    module.kind = number % 2 == 0 ? compress::ModuleKind::attention : compress::ModuleKind::feed_forward;
    module.layer = static_cast<std::uint32_t>(number / 2);
    module.first_chunk = static_cast<std::uint32_t>(model.blobs.size());
    for (std::uint32_t n = up_to(3); n > 0 && model.blobs.size() < shape.chunks; n--) {
      std::vector<std::byte> blob(std::size_t{up_to(shape.most_bytes / 64)} * 64);
      for (std::byte& b : blob) b = static_cast<std::byte>(random() & 15);
      compress::ChunkEntry chunk;
      chunk.module = static_cast<std::uint32_t>(number);
      chunk.module_offset = module.bytes;
      chunk.raw_bytes = chunk.stored_bytes = static_cast<std::uint32_t>(blob.size());
      chunk.file_offset = model.file.size();
      chunk.hash = chunk.stored_hash = compress::xxh3(blob);
      std::vector<std::byte> stored = blob;
      if (std::bernoulli_distribution(shape.coded)(random)) {
        if (const std::size_t bytes = compress::encode_zstd(blob, stored, 3); bytes > 0) {
          stored.resize(bytes);
          chunk.codec = compress::Codec::zstd;
          chunk.stored_bytes = static_cast<std::uint32_t>(bytes);
          chunk.stored_hash = compress::xxh3(stored);
        } else {
          stored = blob;
        }
      }
      model.file.insert(model.file.end(), stored.begin(), stored.end());
      model.file.resize(round_up(model.file.size(), compress::kPage));
      module.bytes += blob.size();
      model.order.push_back(static_cast<std::uint32_t>(model.blobs.size()));
      model.blobs.push_back(std::move(blob));
      model.index.chunks.push_back(chunk);
    }
    module.chunk_count = static_cast<std::uint32_t>(model.blobs.size()) - module.first_chunk;
    module.first_tensor = static_cast<std::uint32_t>(number);
    module.tensor_count = 1;
    compress::TensorEntry tensor;
    tensor.role = number % 2 == 0 ? compress::TensorRole::attention_q : compress::TensorRole::feed_forward_up;
    tensor.layer = module.layer;
    tensor.module = static_cast<std::uint32_t>(number);
    tensor.bytes = module.bytes;
    model.index.tensors.push_back(tensor);
    model.index.modules.push_back(module);
  }
  model.index.file_bytes = model.file.size();
  return model;
}

// This share of the chunks resident, drawn by `seed`; a ring of the least size and `more` bytes.
inline Plan plan_for(const StreamedModel& model, double resident, std::uint64_t seed = 1, std::uint64_t more = 0) {
  std::mt19937_64 random(seed);
  Plan plan;
  for (const std::uint32_t c : model.order) {
    plan.resident.push_back(std::bernoulli_distribution(resident)(random));
    if (!plan.resident.back()) plan.streamed.push_back(c);
  }
  if (!plan.streamed.empty()) plan.ring_bytes = least_ring_bytes(model.index, plan.streamed) + more;
  return plan;
}

}  // namespace leafcutter::offload::test
