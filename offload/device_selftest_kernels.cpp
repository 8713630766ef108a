#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include "base/half.h"
#include "base/page_buffer.h"
#include "kernels/activation_rows.h"
#include "kernels/kv_rows.h"
#include "kernels/matmul.h"
#include "kernels/strip_shape.h"
#include "offload/device_memory.h"
#include "offload/device_selftest.h"
#include "offload/emulated_kernels.h"

namespace leafcutter::offload {
namespace {

using kernels::ActivationGroup;
using kernels::KvType;
using kernels::Layout;
using Values = std::vector<double>;

std::vector<float> random_floats(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(n);
  for (float& v : values) v = uniform(random);
  return values;
}

// Any bytes are codes; scales and floats are numbers.
std::vector<std::byte> random_strips(Layout layout, std::size_t k, std::size_t strips, unsigned seed) {
  const std::size_t bytes = kernels::strip_bytes(layout, k);
  const kernels::GroupShape shape = kernels::group_shape(layout);
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<std::byte> all(strips * bytes);
  for (std::byte& b : all) b = static_cast<std::byte>(random());
  const auto put = [](std::byte* at, auto v) { std::memcpy(at, &v, sizeof v); };
  for (std::size_t s = 0; s < strips; s++) {
    std::byte* const strip = all.data() + s * bytes;
    const std::size_t width = kernels::float_bytes(layout);
    for (std::size_t i = 0; width > 0 && i < bytes; i += width) {
      const float v = uniform(random);
      if (layout == Layout::f32) put(strip + i, v);
      if (layout == Layout::f16) put(strip + i, half_from_float(v));
      if (layout == Layout::bf16) put(strip + i, bf16_from_float(v));
    }
    for (std::size_t r = 0; shape.row_floats && r < (shape.minima ? 32 : 16); r++) put(strip + 4 * r, uniform(random) * 0.01f);
    for (std::size_t g = 0; shape.scale == kernels::GroupScale::half && g < kernels::activation_groups(k); g++)
      for (std::size_t i = 0; i < shape.group_head; i += 2)
        put(strip + shape.front + g / 4 * shape.block_bytes() + g % 4 * shape.group_head + i, half_from_float(uniform(random) * 0.1f));
  }
  return all;
}

// The operands of a launch, on the host and on the device.
class Operands {
 public:
  explicit Operands(Device& device) : device_(device), stream_(device.make_stream()) {}

  using Id = std::size_t;
  template <class T>
  Id add(const std::vector<T>& values) {
    return add(values, values);
  }
  template <class T>
  Id add(const std::vector<T>& on_host, const std::vector<T>& on_device) {
    const std::size_t bytes = on_host.size() * sizeof(T);
    Operand& o = operands_.emplace_back(Operand{PageBuffer(bytes, "selftest"), DeviceBuffer(device_, bytes, "selftest")});
    std::memcpy(o.host.data(), on_host.data(), bytes);
    device_.copy_to_device(o.device.address(), reinterpret_cast<const std::byte*>(on_device.data()), {bytes}, stream_);
    return operands_.size() - 1;
  }

  DeviceAddress on_host(Id id) const { return {reinterpret_cast<std::uint64_t>(operands_[id].host.data())}; }
  DeviceAddress on_device(Id id) const { return operands_[id].device.address(); }
  template <class T>
  T* data(Id id) const {
    return reinterpret_cast<T*>(operands_[id].host.data());
  }

  template <class Launch>
  void run_on_host(const Launch& launch) const {
    run_emulated_kernel(Launch::kKernel, &launch, kernels::Isa::portable);
  }
  template <class Launch>
  void run_on_device(const Launch& launch) {
    device_.launch(launch, stream_);
  }
  // What the device has there now.
  std::vector<std::byte> fetch(Id id) {
    std::vector<std::byte> bytes(operands_[id].device.size());
    device_.copy_to_host(bytes.data(), on_device(id), {bytes.size()}, stream_);
    device_.synchronize(stream_);
    return bytes;
  }
  std::vector<std::byte> host_bytes(Id id) const {
    const auto bytes = operands_[id].host.bytes();
    return {bytes.begin(), bytes.end()};
  }

 private:
  struct Operand {
    PageBuffer host;
    DeviceBuffer device;
  };
  Device& device_;
  const DeviceStream stream_;
  std::vector<Operand> operands_;
};

Values floats_of(const std::vector<std::byte>& bytes) {
  std::vector<float> floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), floats.size() * sizeof(float));
  return {floats.begin(), floats.end()};
}

Values groups_of(const std::vector<std::byte>& bytes) {
  Values values;
  for (std::size_t i = 0; i < bytes.size() / sizeof(ActivationGroup); i++) {
    ActivationGroup g;
    std::memcpy(&g, bytes.data() + i * sizeof g, sizeof g);
    for (const std::int8_t q : g.q) values.push_back(q * static_cast<double>(g.scale));
    values.push_back(g.sum);
    values.push_back(g.offset / 128.0 * static_cast<double>(g.scale));
  }
  return values;
}

struct Comparison {
  std::string name;
  double tolerance;  // of the largest value
};

void compare(const Comparison& c, const Values& got, const Values& want, const SelftestReport& report) {
  double most = 0, largest = 0;
  bool finite = got.size() == want.size();
  for (std::size_t i = 0; finite && i < want.size(); i++) {
    finite = std::isfinite(got[i]);
    most = std::max(most, std::abs(got[i] - want[i]));
    largest = std::max(largest, std::abs(want[i]));
  }
  const double difference = !finite ? HUGE_VAL : largest > 0 ? most / largest : most;
  char text[80];
  std::snprintf(text, sizeof text, "differs by %.1e at most, %.0e is allowed", difference, c.tolerance);
  report({c.name, finite && difference <= c.tolerance, finite ? text : "not a number", finite ? difference : -1});
}

// Runs a check; what the device refuses is a line, too.
template <class Check>
void attempt(Device& device, const std::string& name, const SelftestReport& report, Check&& check) {
  try {
    Operands operands(device);
    check(operands);
  } catch (const DeviceError& e) {
    if (!device.drain()) throw;
    report({name, false, e.what(), -1});
  } catch (const Error& e) { report({name, false, e.what(), -1}); }
}

// `launch_with(place)`: the arguments, whose addresses `place` gives for host or device.
template <class LaunchWith, class Decode>
void run_both(Operands& operands, LaunchWith&& launch_with, Operands::Id out, Decode&& decode, const Comparison& comparison,
              const SelftestReport& report) {
  operands.run_on_device(launch_with([&](Operands::Id id) { return operands.on_device(id); }));
  operands.run_on_host(launch_with([&](Operands::Id id) { return operands.on_host(id); }));
  compare(comparison, decode(operands.fetch(out)), decode(operands.host_bytes(out)), report);
}

struct NamedLayout {
  Layout layout;
  const char* name;
};
constexpr NamedLayout kLayouts[] = {{Layout::f32, "f32"},   {Layout::f16, "f16"},     {Layout::bf16, "bf16"},
                                    {Layout::q8, "q8"},     {Layout::q8row, "q8row"}, {Layout::q4, "q4"},
                                    {Layout::q8_0, "q8_0"}, {Layout::q4_0, "q4_0"},   {Layout::q4_1, "q4_1"}};

void check_product(Device& device, const NamedLayout& layout, std::size_t k, std::size_t outputs, std::size_t rows,
                   const SelftestReport& report) {
  const std::string name = std::string("product ") + layout.name + ", " + std::to_string(outputs) + " x " + std::to_string(k) + ", " +
                           std::to_string(rows) + (rows == 1 ? " row" : " rows");
  attempt(device, name, report, [&](Operands& o) {
    const std::size_t strips = (outputs + kernels::kStripRows - 1) / kernels::kStripRows;
    const auto weights = o.add(random_strips(layout.layout, k, strips, static_cast<unsigned>(k)));
    const std::vector<float> x = random_floats(rows * k, static_cast<unsigned>(rows));
    std::vector<ActivationGroup> records(kernels::activation_groups(k) * rows);
    kernels::quantize_rows_portable({x.data(), k, rows, k, 0, rows, records.data()});
    const auto floats = o.add(x), groups = o.add(records), bias = o.add(random_floats(outputs, 3)),
               y = o.add(std::vector<float>(rows * outputs));
    ProductLaunch launch;
    launch.weights = o.on_device(weights);
    launch.x = o.on_device(floats);
    launch.groups = o.on_device(groups);
    launch.bias = o.on_device(bias);
    launch.y = o.on_device(y);
    launch.k = launch.x_stride = k;
    launch.strips = strips;
    launch.outputs = launch.y_stride = outputs;
    launch.rows = rows;
    launch.layout = layout.layout;
    o.run_on_device(launch);
    kernels::matmul_reference(layout.layout, {o.data<std::byte>(weights), k, strips, outputs, o.data<ActivationGroup>(groups),
                                              o.data<float>(floats), k, rows, 1, o.data<float>(bias), o.data<float>(y), outputs});
    compare({name, 1e-4}, floats_of(o.fetch(y)), floats_of(o.host_bytes(y)), report);
  });
}

void check_rows(Device& device, const SelftestReport& report) {
  for (const std::size_t width : {64, 77, 4096}) {
    const std::string norm = "rms norm, width " + std::to_string(width), quantize = "quantized rows, width " + std::to_string(width);
    attempt(device, norm, report, [&](Operands& o) {
      const auto x = o.add(random_floats(5 * width, 1)), weight = o.add(random_floats(width, 2)), y = o.add(std::vector<float>(5 * width));
      const auto launch = [&](auto place) {
        return RmsNormLaunch{.x = place(x),
                             .weight = place(weight),
                             .y = place(y),
                             .rows = 5,
                             .width = width,
                             .x_stride = width,
                             .y_stride = width,
                             .epsilon = 1e-5f};
      };
      run_both(o, launch, y, floats_of, {norm, 1e-5}, report);
    });
    attempt(device, quantize, report, [&](Operands& o) {
      const auto x = o.add(random_floats(5 * width, 4));
      const auto groups = o.add(std::vector<ActivationGroup>(5 * kernels::activation_groups(width)));
      const auto launch = [&](auto place) { return QuantizeRowsLaunch{place(x), place(groups), 5, width, width}; };
      run_both(o, launch, groups, groups_of, {quantize, 1e-5}, report);
    });
  }
}

void check_elementwise(Device& device, const SelftestReport& report) {
  constexpr std::size_t kValues = 5003;
  const auto with_two = [&](const std::string& name, auto&& make) {
    attempt(device, name, report, [&](Operands& o) {
      const auto x = o.add(random_floats(kValues, 5)), y = o.add(random_floats(kValues, 6));
      run_both(
          o, [&](auto place) { return make(place(x), place(y)); }, x, floats_of, {name, 1e-5}, report);
    });
  };
  with_two("sum", [](DeviceAddress x, DeviceAddress y) { return AddLaunch{x, y, kValues}; });
  constexpr std::pair<kernels::Gate, const char*> kGates[] = {
      {kernels::Gate::silu, "gate silu"}, {kernels::Gate::gelu_erf, "gate gelu"}, {kernels::Gate::gelu_tanh, "gate gelu by tanh"}};
  for (const auto& [gate, name] : kGates)
    with_two(name, [chosen = gate](DeviceAddress x, DeviceAddress y) { return GateLaunch{x, y, kValues, chosen}; });
  attempt(device, "rotary embedding", report, [&](Operands& o) {
    const auto x = o.add(random_floats(3 * 4 * 64, 7)), cos = o.add(random_floats(3 * 32, 8)), sin = o.add(random_floats(3 * 32, 9));
    const auto launch = [&](auto place) { return RotateLaunch{place(x), place(cos), place(sin), 3, 4, 64, 32, 4 * 64}; };
    run_both(o, launch, x, floats_of, {"rotary embedding", 1e-6}, report);
  });
}

// Keys and values are stored by one kernel and read by the other, over slots in any order.
void check_attention(Device& device, KvType type, std::size_t head_dim, std::size_t rows, const SelftestReport& report) {
  constexpr std::size_t kHeads = 4, kKvHeads = 2, kSlots = 70;
  const std::string of = std::string(kernels::kv_type_name(type)) + ", heads of " + std::to_string(head_dim);
  const std::string stored = "stored keys " + of,
                    attended = "attention " + of + ", " + std::to_string(rows) + (rows == 1 ? " row" : " rows");
  attempt(device, attended, report, [&](Operands& o) {
    const std::size_t row_bytes = kernels::kv_row_bytes(type, head_dim), plane = kSlots * row_bytes;
    std::vector<std::uint32_t> order(kSlots);
    for (std::size_t i = 0; i < kSlots; i++) order[i] = static_cast<std::uint32_t>(i * 29 % kSlots);
    const std::vector<std::byte> none(kKvHeads * plane);
    const auto k = o.add(random_floats(kSlots * kKvHeads * head_dim, 10)), v = o.add(random_floats(kSlots * kKvHeads * head_dim, 11));
    const auto slots = o.add(order), keys = o.add(none), values = o.add(none);
    const auto store = [&](auto place) {
      return StoreKvLaunch{place(k), place(v), place(slots), place(keys), place(values), kSlots, kKvHeads, head_dim, plane, type};
    };
    const auto decoded = [&](const std::vector<std::byte>& bytes) {
      Values all;
      std::vector<float> row(head_dim);
      for (std::size_t i = 0; i < kKvHeads * kSlots; i++) {
        kernels::kv_load_row(type, bytes.data() + i * row_bytes, head_dim, row.data());
        all.insert(all.end(), row.begin(), row.end());
      }
      return all;
    };
    run_both(o, store, values, decoded, {stored, type == KvType::q8 ? 1e-2 : 1e-6}, report);

    const auto q = o.add(random_floats(rows * kHeads * head_dim, 12)), y = o.add(std::vector<float>(rows * kHeads * head_dim));
    std::vector<DeviceAttentionRow> here(rows), there(rows);
    for (std::size_t r = 0; r < rows; r++) {
      const std::size_t visible = kSlots - rows + r + 1;
      here[r] = {o.on_host(slots), {}, visible, visible - 1, 0};
      there[r] = {o.on_device(slots), {}, visible, visible - 1, 0};
    }
    const auto table = o.add(here, there);
    const auto attend = [&](auto place) {
      AttendLaunch a;
      a.q = place(q);
      a.y = place(y);
      a.table = place(table);
      a.lists = place(slots);
      a.keys = place(keys);
      a.values = place(values);
      a.list_bytes = kSlots * sizeof(std::uint32_t);
      a.rows = rows;
      a.heads = kHeads;
      a.kv_heads = kKvHeads;
      a.head_dim = head_dim;
      a.head_stride = plane;
      a.scale = 1 / std::sqrt(static_cast<float>(head_dim));
      a.type = type;
      return a;
    };
    run_both(o, attend, y, floats_of, {attended, type == KvType::q8 ? 1e-2 : 1e-4}, report);
  });
}

}  // namespace

void check_device_kernels(Device& device, const SelftestReport& report) {
  check_elementwise(device, report);
  check_rows(device, report);
  for (const NamedLayout& layout : kLayouts)
    for (const std::size_t rows : {1, 7, 20, 70}) check_product(device, layout, rows == 7 ? 333 : 512, rows == 7 ? 75 : 160, rows, report);
  for (const KvType type : {KvType::f32, KvType::f16, KvType::q8})
    for (const std::size_t head_dim : {64, 96, 128, 256})
      for (const std::size_t rows : {1, 6}) check_attention(device, type, head_dim, rows, report);
}

}  // namespace leafcutter::offload
