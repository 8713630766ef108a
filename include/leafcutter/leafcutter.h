// Leafcutter's C++ interface: load a .leaf within a budget of memory, generate text.
//
//   auto model = leafcutter::Model::load("model.leaf", {.memory = "2GiB"});
//   model.generate("Once upon a time", {.max_tokens = 64}, [](const leafcutter::Token& t) { std::cout << t.text << std::flush; });
//
// Every function may throw leafcutter::Error (error.h), whose text names the file, the place, what was expected and what to do next; the
// library never prints, exits or aborts. After an error of generate() the model can be used on.
// A Model is for one thread at a time; different models are independent, apart from the machine they share. Weights, KV cache and buffers are
// allocated by load(); generating allocates only small things.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "leafcutter/error.h"

namespace leafcutter {

struct LoadOptions {
  std::string memory =
      {};                // hard limit for the whole process: "2GiB", "1500MB", "60%" or "-1GiB" of what is available; "": what is available
  unsigned threads = 0;  // of computation; 0: all cores this process may use
  std::uint64_t ctx_size = 0;  // positions of prompt and answer together; 0: as the model and the budget allow, at most 2048
  unsigned beams = 1;          // beams of a search, or answers that are scored together: each may take KV rows as a whole context
  std::string draft = {};      // path of a small .leaf of the same vocabulary that drafts tokens, counted within `memory`; "": none
  std::string kv_type = {};    // of the KV cache: "f32", "f16", "q8"; "": f16, f32 for a file of f32
  std::function<void(std::uint64_t done_bytes, std::uint64_t all_bytes)> progress =
      {};                     // while loading, one call at a time, from any thread
  std::stop_token stop = {};  // ends load() with an Error(cancelled)
};

struct GenerateOptions {
  std::uint64_t max_tokens = 128;
  float temperature = 0.8f;              // 0: the most likely token, whatever the options below say
  std::uint32_t top_k = 40;              // 0: all
  float top_p = 0.95f;                   // 1: all
  float min_p = 0.05f;                   // 0: all
  float repetition_penalty = 1.0f;       // 1: none
  std::uint32_t repetition_window = 64;  // ids back that it looks at; 0: all
  std::uint64_t seed = 0;                // the same seed gives the same text
  std::vector<std::string> stop = {};    // texts that end the answer and are not part of it
  bool ignore_end = false;               // go on past the model's end token
  std::uint32_t task = 2;                // CPM-Ant: which of its prompts stands in front of the text
  std::string preset = {};  // "cpm-live", "hf": the habits of those programs (docs/flags.md); the numbers above stay as they are
  std::string lookup =
      "auto";          // "auto", "on", "off": draft tokens where the text repeats itself, to be verified together; the same tokens, sooner
  unsigned beams = 1;  // more: beam search, deterministic, with as many as load() was told of; temperature and filters do not matter
  std::stop_token cancel = {};  // ends generate() within one module with an Error(cancelled)
};

struct Token {
  std::uint64_t index = 0;  // 0 for the first generated one
  std::uint32_t id = 0;
  std::string text;  // whole UTF-8 characters that this token completed; may be empty
};

struct Generation {
  std::string text;
  std::vector<std::uint32_t> ids;  // the end token included
  std::string finish_reason;       // "stop" (end token or stop text) or "length"
  std::uint64_t prompt_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

struct Score {
  double logprob = 0;          // of all tokens of an answer
  std::vector<double> tokens;  // of each
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct MemoryReport {  // bytes
  std::uint64_t budget = 0;
  std::uint64_t planned_peak = 0;   // what the plan said, <= budget
  std::uint64_t measured_peak = 0;  // of the process so far, as its cgroup or the kernel counts
  std::uint64_t resident_weights = 0;
  std::uint64_t streamed_per_step = 0;  // read from disk for each step
};

class Model {
 public:
  // Refuses with Error(out_of_budget), saying what is needed for what, before the first weight is read.
  static Model load(const std::string& path, const LoadOptions& options = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  using OnToken = std::function<void(const Token&)>;

  // The model's begin token, where it has one, goes in front of a text; ids are taken as they are. What the KV cache still holds of the
  // prompt from the call before is not computed again; the answer is the same either way.
  Generation generate(std::string_view prompt, const GenerateOptions& options = {}, const OnToken& on_token = {});
  Generation generate(std::span<const std::uint32_t> prompt, const GenerateOptions& options = {}, const OnToken& on_token = {});
  // By the model's own chat template; Error(unsupported) where it has none that is known.
  Generation chat(std::span<const ChatMessage> messages, const GenerateOptions& options = {}, const OnToken& on_token = {});

  // Logits of the token after `ids`: vocabulary_size() floats.
  std::vector<float> logits(std::span<const std::uint32_t> ids);

  // How likely these answers to a prompt are: log-probabilities without temperature or filters. Neither prompt nor answers may be empty.
  std::vector<Score> score(std::span<const std::uint32_t> prompt, std::span<const std::vector<std::uint32_t>> answers,
                           std::uint32_t task = 2);

  // Error(unsupported) when the file holds no tokenizer. `parse_special`: texts of special tokens become those tokens.
  std::vector<std::uint32_t> tokenize(std::string_view text, bool parse_special = false) const;
  std::string detokenize(std::span<const std::uint32_t> ids, bool with_special = false) const;

  std::uint32_t vocabulary_size() const;
  std::uint64_t ctx_size() const;
  MemoryReport memory() const;

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// "0.1.0"
const char* version();

}  // namespace leafcutter
