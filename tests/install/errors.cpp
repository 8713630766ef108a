// Errors cross the library's border as leafcutter::Error, and a model is good after one. usage: errors MODEL.leaf
#include <leafcutter/leafcutter.h>

#include <cstdio>
#include <vector>

using leafcutter::ErrorKind;

namespace {

template <class Action>
bool fails(ErrorKind kind, Action action) {
  try {
    action();
  } catch (const leafcutter::Error& e) {
    std::printf("%s\n", e.what());
    return e.kind() == kind;
  }
  return false;
}

}  // namespace

int main(int, char** argv) {
  using leafcutter::Model;
  const std::string path = argv[1];
  bool good = fails(ErrorKind::not_found, [&] { Model::load(path + ".none"); });
  good &= fails(ErrorKind::usage, [&] { Model::load(path, {.memory = "much"}); });
  good &= fails(ErrorKind::usage, [&] { Model::load(path, {.kv_type = "q3"}); });
  good &= fails(ErrorKind::out_of_budget, [&] { Model::load(path, {.memory = "1MiB"}); });
  good &= fails(ErrorKind::not_found, [&] { Model::load(path, {.draft = path + ".none"}); });
  Model model = Model::load(path, {.threads = 1, .ctx_size = 32});
  const std::vector<std::uint32_t> prompt = {5, 6, 7}, unknown = {4000000000u}, none;
  const std::vector<float> before = model.logits(prompt);
  good &= before.size() == model.vocabulary_size();
  good &= fails(ErrorKind::usage, [&] { model.generate(unknown, {.max_tokens = 1}); });
  good &= fails(ErrorKind::usage, [&] { model.generate(none, {.max_tokens = 1}); });
  good &= fails(ErrorKind::usage, [&] { model.generate(prompt, {.max_tokens = 100}); });
  good &= fails(ErrorKind::usage, [&] { model.generate(prompt, {.max_tokens = 1, .temperature = -1}); });
  good &= fails(ErrorKind::usage, [&] { model.generate(prompt, {.max_tokens = 1, .lookup = "perhaps"}); });
  std::stop_source stop;
  stop.request_stop();
  good &= fails(ErrorKind::cancelled, [&] { model.generate(prompt, {.max_tokens = 4, .cancel = stop.get_token()}); });
  Model moved = std::move(model);
  good &= moved.generate(prompt, {.max_tokens = 4, .temperature = 0, .ignore_end = true}).ids.size() == 4;
  good &= moved.logits(prompt) == before;
  Model drafted = Model::load(path, {.threads = 1, .ctx_size = 32, .draft = path});
  for (const char* lookup : {"off", "auto", "on"})
    good &= drafted.generate(prompt, {.max_tokens = 20, .temperature = 0, .ignore_end = true, .lookup = lookup}).ids ==
            moved.generate(prompt, {.max_tokens = 20, .temperature = 0, .ignore_end = true, .lookup = "off"}).ids;
  good &= moved.memory().planned_peak <= moved.memory().budget;
  return good ? 0 : 1;
}
