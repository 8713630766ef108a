#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kv_rows.h"
#include "tests/kernels/cuda/emulated.h"

using namespace leafcutter::gpu;
using namespace leafcutter::kernels;

TEST_CASE("rows that a card stores into the cache have the bytes of the processor's, for every type and tail") {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
    for (const std::size_t head_dim : {1, 31, 32, 33, 64, 80, 96, 128, 256, 288})
      for (const std::size_t kv_heads : {1, 3}) {
        CAPTURE(kv_type_name(type));
        CAPTURE(head_dim);
        const std::vector<std::uint32_t> slots = {5, 0, 3};
        const std::size_t rows = slots.size(), row_bytes = kv_row_bytes(type, head_dim), head_stride = 7 * row_bytes;
        auto k = random_floats(rows * kv_heads * head_dim, 1, 3), v = random_floats(k.size(), 2, 1e-6f);
        k[0] = 1e9f;  // past the halves
        v[0] = 0;
        if (k.size() > 40) k[40] = std::numeric_limits<float>::infinity(), v[40] = -std::numeric_limits<float>::infinity();
        std::vector<std::byte> want_keys(kv_heads * head_stride, std::byte{0x55}), want_values(want_keys);
        for (std::size_t r = 0; r < rows; r++)
          for (std::size_t h = 0; h < kv_heads; h++) {
            const std::size_t from = (r * kv_heads + h) * head_dim, to = h * head_stride + slots[r] * row_bytes;
            kv_store_row(type, &k[from], head_dim, &want_keys[to]);
            kv_store_row(type, &v[from], head_dim, &want_values[to]);
          }
        for (const auto& order : kThreadOrders) {
          std::vector<std::byte> keys(kv_heads * head_stride, std::byte{0x55}), values(keys);
          StoreKvLaunch launch;
          launch.k = address_of(k);
          launch.v = address_of(v);
          launch.slots = address_of(slots);
          launch.keys = address_of(keys);
          launch.values = address_of(values);
          launch.rows = rows;
          launch.kv_heads = kv_heads;
          launch.head_dim = head_dim;
          launch.head_stride = head_stride;
          launch.type = type;
          run_emulated(launch, order);
          REQUIRE(keys == want_keys);
          REQUIRE(values == want_values);
        }
      }
}
