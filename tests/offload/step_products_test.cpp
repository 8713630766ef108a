#include "offload/step_products.h"

#include <doctest/doctest.h>

#include "compress/compress_model.h"
#include "compress/leaf_writer.h"
#include "compress/shapes.h"
#include "compress/strip_walk.h"

using namespace leafcutter;
using namespace leafcutter::offload;

TEST_CASE("a chunk is counted with the product that has most of its bytes, whatever cuts the module") {
  for (const char* shape : {"cpm-ant-1b", "smollm2-135m", "llama-1.1b"})
    for (const std::uint64_t chunk_bytes : {std::uint64_t{64} << 10, std::uint64_t{1} << 20, compress::kMaxChunkBytes}) {
      compress::ModelDescription model = compress::find_shape(shape).value();
      model.layers.resize(3);
      const compress::LeafIndex index = compress::lay_out_leaf(model, compress::plan_tensors(model, {}), chunk_bytes);
      std::array<int, kProducts> found{};
      for (const compress::ChunkEntry& chunk : index.chunks) {
        if (index.modules[chunk.module].kind == compress::ModuleKind::vectors) continue;
        const Product product = product_of(index, chunk);
        std::uint64_t of_it = 0, most_of_others = 0;
        std::array<std::uint64_t, kProducts> bytes{};
        for (const compress::StripRange& range : compress::strips_of_chunk(index, chunk))
          if (const auto p = product_of(index.tensors[range.tensor].role, model.tied_head))
            bytes[static_cast<std::size_t>(*p)] += (range.end - range.begin) * index.tensors[range.tensor].strip_bytes();
        for (std::size_t p = 0; p < kProducts; p++)
          if (static_cast<Product>(p) == product)
            of_it = bytes[p];
          else
            most_of_others = std::max(most_of_others, bytes[p]);
        CHECK(of_it >= most_of_others);
        found[static_cast<std::size_t>(product)]++;
      }
      if (chunk_bytes == std::uint64_t{64} << 10)
        for (const int chunks : found) CHECK(chunks > 0);
    }
}
