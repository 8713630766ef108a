#include "compress/shapes.h"

#include <doctest/doctest.h>

using namespace leafcutter::compress;

TEST_CASE("shapes of known models have exactly their numbers of parameters") {
  const std::pair<const char*, std::uint64_t> kParameters[] = {{"csg-wukong-1b", 1'100'048'384}, {"llama-1.1b", 1'100'048'384},
                                                               {"chuxin-1.6b", 1'652'656'128},   {"chuxin-1.6b-1m", 1'652'656'128},
                                                               {"fox-1-1.6b", 1'665'271'808},    {"smollm2-135m", 134'515'008}};
  for (const auto& [name, parameters] : kParameters) {
    CAPTURE(name);
    const auto model = find_shape(name);
    REQUIRE(model.has_value());
    std::uint64_t sum = 0;
    for (const TensorPlan& tensor : plan_tensors(*model, {})) sum += tensor.rows * tensor.k;
    CHECK(sum == parameters);
  }
  CHECK(find_shape("chuxin-1.6b-1m")->context_length == 1u << 20);
}

TEST_CASE("every name of a shape finds it") {
  for (const char* name : shape_names()) CHECK(find_shape(name).has_value());
  CHECK_FALSE(find_shape("no-such-shape").has_value());
}
