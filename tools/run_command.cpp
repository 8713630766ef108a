// leafcutter run MODEL [PROMPT]: generate text, from a prompt, from ids, or as a conversation.
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "runtime/beam_search.h"
#include "runtime/chat.h"
#include "runtime/draft_model.h"
#include "runtime/generate.h"
#include "runtime/prefix_cache.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/id_list.h"
#include "tools/load_flags.h"
#include "tools/model_source.h"
#include "tools/recording.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

struct RunFlags {
  std::string trace;  // file; empty: none
  std::string model;
  std::optional<std::string> prompt, prompt_file, ids;
  bool chat = false, special = false, verbose = false;
  std::string system;
  std::optional<std::uint64_t> seed;
  std::optional<std::uint32_t> beams;
  std::string preset = "none";
  std::string lookup = "auto";
  std::optional<std::string> draft;
  LoadFlags load;
  runtime::GenerateOptions generate;

  bool searches() const { return beams.value_or(1) > 1; }
};

std::string all_of(std::istream& in) { return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}; }

std::string prompt_text(const RunFlags& flags) {
  if (flags.prompt) return *flags.prompt;
  if (flags.prompt_file) {
    std::ifstream in(*flags.prompt_file, std::ios::binary);
    if (!in) throw Error(ErrorKind::not_found, *flags.prompt_file, "cannot open the prompt's file");
    return all_of(in);
  }
  if (isatty(STDIN_FILENO)) throw Error(ErrorKind::usage, "PROMPT", "there is none", "give one, pipe one in, or talk with --chat");
  return all_of(std::cin);
}

std::vector<std::uint32_t> prompt_ids(const RunFlags& flags, const runtime::Tokenizer* tokenizer) {
  if (flags.ids) return parse_ids(*flags.ids, "--ids");
  if (!tokenizer) throw Error(ErrorKind::unsupported, flags.model, "has no tokenizer inside", "give the prompt as ids with --ids");
  const std::string text = prompt_text(flags);
  if (flags.chat) {
    std::vector<runtime::ChatMessage> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", text});
    return runtime::chat_prompt(*tokenizer, messages);
  }
  std::vector<std::uint32_t> ids;
  if (tokenizer->begin_id()) ids.push_back(*tokenizer->begin_id());
  std::vector<std::uint32_t> rest = tokenizer->encode(text, flags.special);
  if (flags.generate.preset == runtime::Preset::cpm_live)  // CPM-Live drops what its vocabulary has no word for
    std::erase_if(rest, [&](std::uint32_t id) { return tokenizer->is_unknown(id); });
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

ordered_json token_json(const runtime::GeneratedToken& token, bool logprobs) {
  ordered_json line = {{"event", "token"}, {"index", token.index}, {"id", token.id}, {"text", token.text}};
  if (logprobs) {
    line["logprob"] = token.logprob;
    line["top"] = ordered_json::array();
    for (const runtime::TokenLogprob& t : token.top) line["top"].push_back({{"id", t.id}, {"logprob", t.logprob}});
  }
  return line;
}

// Drafts for a model: what is planned for them, the draft model, and what they gave.
class Drafting {
 public:
  Drafting(const RunFlags& flags, const std::string& path, runtime::LoadOptions& options, Notes& notes, std::stop_token stop)
      : verbose_(flags.verbose), notes_(notes) {
    options_.lookup = runtime::lookup_named(flags.lookup);
    options_.draft_tokens = flags.generate.speculation.draft_tokens;
    if (flags.searches()) {
      if (verbose_ && options_.lookup != runtime::Lookup::off) notes_.add("look-up: off, a beam search takes its rows itself");
      options_.lookup = runtime::Lookup::off;
      return;
    }
    runtime::plan_for_speculation(options, options_.lookup, flags.draft.has_value(), options_.draft_tokens);
    if (!flags.draft) return;
    draft_path_ = resolve_model(*flags.draft, notes, stop);
    draft_options_ = runtime::plan_draft_model(options, path, draft_path_);
    draft_options_.stop = stop;
  }

  // After the large model is there.
  runtime::SpeculationOptions begin(const runtime::Model& model) {
    if (!draft_path_.empty()) model_.emplace(draft_path_, draft_options_);
    options_.draft_model = model_ ? &*model_ : nullptr;
    if (verbose_ && options_.any())
      notes_.add(model.logit_rows() > 1 ? fmt::format("drafts: up to {} a step", model.logit_rows() - 1)
                                        : "look-up: off, its rows would take too much of the budget");
    return options_;
  }

  void report(const runtime::SpeculationReport& report) {
    if (const std::string text = speculation_text(report); !text.empty()) notes_.add(text);
  }

 private:
  const bool verbose_;
  Notes& notes_;
  runtime::SpeculationOptions options_;
  std::string draft_path_;
  runtime::LoadOptions draft_options_;
  std::optional<runtime::DraftModel> model_;
};

std::unique_ptr<runtime::Model> load(const RunFlags& flags, const std::string& path, runtime::LoadOptions options, Notes& notes,
                                     std::stop_token stop) {
  Progress progress("load");
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.bytes(done, total); };
  options.stop = stop;
  auto model = runtime::Model::load(path, options);
  check_clock(flags.load, *model);
  for (const std::string& note : model->notes()) notes.add("note: " + note);
  if (flags.verbose) notes.add(plan_text(*model));
  return model;
}

runtime::BeamOptions beam_options(const RunFlags& flags) {
  runtime::BeamOptions options;
  options.beams = flags.beams.value_or(1);
  options.max_tokens = flags.generate.max_tokens;
  options.preset = flags.generate.preset == runtime::Preset::cpm_live ? runtime::Preset::cpm_live : runtime::Preset::hf;
  options.repetition_penalty = flags.generate.sampling.repetition_penalty;
  options.repetition_window = flags.generate.sampling.repetition_window;
  options.ignore_end = flags.generate.ignore_end;
  options.logprobs = flags.generate.logprobs;
  options.task = flags.generate.task;
  return options;
}

void run_once(const RunFlags& flags, const CommonFlags& common) {
  const std::stop_token stop = stop_on_signal();
  Notes notes(common.quiet);
  const std::string path = resolve_model(flags.model, notes, stop);
  // The prompt's length decides the context, so that the text is turned into ids before the weights are loaded; this tokenizer goes before the model brings its own.
  const std::vector<std::uint32_t> prompt = prompt_ids(flags, flags.ids ? nullptr : load_tokenizer(path).get());
  if (prompt.empty()) throw Error(ErrorKind::usage, "PROMPT", "it is empty", "give at least one token");
  runtime::LoadOptions options = flags.load.options(path, &notes);
  const runtime::BeamOptions beams = beam_options(flags);
  const std::uint64_t positions = prompt_slots_of(path) + prompt.size();
  options.needed_positions = positions + flags.generate.max_tokens;
  options.prompt_positions = positions;
  if (flags.searches()) runtime::plan_for_beams(options, beams, positions);
  std::optional<Recording> recording;
  if (!flags.trace.empty()) {
    recording.emplace().begin_phase("load");
    options.pager.trace = &recording->trace();
  }
  Drafting drafting(flags, path, options, notes, stop);
  const std::unique_ptr<runtime::Model> model = load(flags, path, options, notes, stop);
  runtime::GenerateOptions generate = flags.generate;
  generate.speculation = drafting.begin(*model);
  RunMeter meter(*model);
  if (recording) recording->begin_phase("prompt");
  const bool logprobs = flags.generate.logprobs > 0;
  const auto card_clock = [&] { return options.device ? options.device->clock_seconds() : std::nullopt; };
  const std::optional<double> began = card_clock();
  std::optional<double> first;  // on the device's clock, when the first token was there
  const auto print = [&](const runtime::GeneratedToken& token) {
    if (recording && token.index == 0) recording->begin_phase("decode");
    if (token.index == 0) first = card_clock();
    if (common.json)
      print_json(token_json(token, logprobs));
    else if (model->tokenizer())
      print_text(token.text);
    else
      print_text(fmt::format("{}{}", token.index ? " " : "", token.id));
  };
  const auto result = flags.searches() ? runtime::beam_search(*model, prompt, beams, print, stop)
                                       : runtime::generate(*model, prompt, generate, print, stop);
  if (recording) {
    recording->finish();
    write_chrome_trace(flags.trace, *recording, model->index());
  }
  if (common.json) {
    ordered_json done = {{"event", "done"},
                         {"finish_reason", result.finish_reason},
                         {"prompt_ids", prompt},
                         {"ids", result.ids},
                         {"text", result.text},
                         {"prefill_s", result.prefill_seconds},
                         {"decode_s", result.decode_seconds},
                         {"tokens_per_s", result.tokens_per_second()},
                         {"speculation", speculation_json(result.speculation)}};
    if (first) done["virtual"] = {{"prompt_s", *first - *began}, {"decode_s", *card_clock() - *first}};
    done.update(meter.json());
    print_json(done);
  } else {
    print_text("\n");
    notes.add(meter.text(prompt.size(), result));
    if (first && result.ids.size() > 1)
      notes.add(fmt::format("on the card's clock: prompt {:.4f} s, then {:.2f} tok/s", *first - *began,
                            static_cast<double>(result.ids.size() - 1) / (*card_clock() - *first)));
    drafting.report(result.speculation);
  }
  notes.succeeded();
}

// A line of the user; false at the end of input.
bool ask(std::string& line) {
  const PromptSignals signals;
  print_text("> ");
  return static_cast<bool>(std::getline(std::cin, line));
}

struct Answer {
  std::vector<std::uint32_t> ids;
  std::string text;
  runtime::SpeculationReport speculation;  // nothing where it was cut off
};

// Ctrl-C cuts the answer off: what was shown until then is the answer.
Answer answer_to(runtime::Model& model, std::span<const std::uint32_t> prompt, const runtime::GenerateOptions& options) {
  const AnswerSignals signals;
  Answer answer;
  try {
    const auto result = runtime::generate(
        model, prompt, options,
        [&](const runtime::GeneratedToken& token) {
          answer.ids.push_back(token.id);
          answer.text += token.text;
          print_text(token.text);
        },
        signals.token());
    answer.speculation = result.speculation;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::cancelled || stop_on_signal().stop_requested()) throw;
  }
  print_text("\n");
  return answer;
}

// A conversation: a line of the user, an answer, until the end of input. The cache keeps what was said; only what is new is read.
void converse(const RunFlags& flags, const CommonFlags& common) {
  const std::stop_token stop = stop_on_signal();
  Notes notes(common.quiet);
  const std::string path = resolve_model(flags.model, notes, stop);
  runtime::LoadOptions load_options = flags.load.options(path, &notes);
  Drafting drafting(flags, path, load_options, notes, stop);
  const auto model = load(flags, path, load_options, notes, stop);
  const runtime::Tokenizer* tokenizer = model->tokenizer();
  if (!tokenizer || !runtime::has_chat_template(*tokenizer))
    throw Error(ErrorKind::unsupported, flags.model, "has no chat template that is known here", "give a prompt without --chat");
  runtime::GenerateOptions options = flags.generate;
  options.speculation = drafting.begin(*model);
  notes.add("A conversation; Ctrl-C cuts an answer off, Ctrl-D ends it.");
  std::vector<runtime::ChatMessage> messages;
  if (!flags.system.empty()) messages.push_back({"system", flags.system});
  runtime::PrefixCache prefix(*model);
  for (std::string line; ask(line);) {
    if (line.empty()) continue;
    messages.push_back({"user", line});
    const std::vector<std::uint32_t> ids = runtime::chat_prompt(*tokenizer, messages);
    const std::uint64_t room = model->ctx_size() - std::min<std::uint64_t>(model->ctx_size(), ids.size());
    if (room == 0)
      throw Error(ErrorKind::usage, "conversation", fmt::format("is longer than the context of {} tokens", model->ctx_size()),
                  "raise --ctx-size");
    options.max_tokens = std::min(flags.generate.max_tokens, room);
    options.cached = ids.size() - prefix.rest_of(ids).size();
    const Answer answer = answer_to(*model, ids, options);
    if (answer.ids.empty()) {
      messages.pop_back();  // cut off before its first token: as if it had not been asked
      continue;
    }
    messages.push_back({"assistant", answer.text});
    prefix.append(answer.ids);
    if (flags.verbose) drafting.report(answer.speculation);
  }
  print_text("\n");
  notes.succeeded();
}

// Defaults of a preset for what the command line leaves open.
void apply_preset(RunFlags& flags, const CLI::App& app) {
  if (flags.preset == "none") return;
  const bool live = flags.preset == "cpm-live";
  flags.generate.preset = live ? runtime::Preset::cpm_live : runtime::Preset::hf;
  const auto open = [&](const char* flag) { return app.get_option(flag)->count() == 0; };
  if (!flags.beams) flags.beams = open("--temp") ? 3 : 1;
  runtime::SamplingOptions& sampling = flags.generate.sampling;
  if (open("--temp")) sampling.temperature = live ? 0.9f : 1.0f;
  if (open("--top-k")) sampling.top_k = live ? 0 : 50;
  if (open("--top-p")) sampling.top_p = live ? 0.9f : 1.0f;
  if (open("--min-p")) sampling.min_p = 0;
  if (open("--repeat-penalty")) sampling.repetition_penalty = live && !flags.searches() ? 1.0f : 1.2f;
  if (open("--repeat-last-n")) sampling.repetition_window = 0;
  sampling.temperature_first = true;
}

}  // namespace

RunCommand add_run(CLI::App& app) {
  auto flags = std::make_shared<RunFlags>();
  app.add_option("MODEL", flags->model, "a .leaf, or a .gguf or folder that is converted once into the cache")->required();
  CLI::Option* prompt = app.add_option("PROMPT", flags->prompt, "text to go on from (default: stdin, when it is piped)");
  app.add_option("-f,--file", flags->prompt_file, "read the prompt from a file");
  app.add_option("--ids", flags->ids,
                 "prompt as ids: 6,9802,14962; nothing is added (CPM-Ant: the prompt slots of --task still stand in front)")
      ->excludes(prompt);
  app.add_flag("--chat", flags->chat, "use the model's chat template; without PROMPT on a terminal: a conversation");
  app.add_option("--system", flags->system, "system message for --chat");
  app.add_flag("--special", flags->special, "recognise special tokens in the prompt");
  app.add_option("--task", flags->generate.task, "CPM-Ant: the prompt slots to begin with")->capture_default_str();
  app.add_option("--beams", flags->beams, "beam search with this many beams; 1: none")->check(CLI::Range(1, 64));
  app.add_option("--preset", flags->preset,
                 "generate as cpm-live or hf (transformers) do: search with 3 beams, or sample when --temp is given")
      ->check(CLI::IsMember({"none", "cpm-live", "hf"}));
  app.add_option("-n,--n-predict,--max-tokens", flags->generate.max_tokens, "tokens to generate")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 24))
      ->capture_default_str();
  auto& sampling = flags->generate.sampling;
  app.add_option("--temp", sampling.temperature, "temperature; 0 is the plain arg-max")->capture_default_str();
  app.add_option("--top-k", sampling.top_k, "keep the k most likely; 0: all")->capture_default_str();
  app.add_option("--top-p", sampling.top_p, "keep the most likely that make up p; 1: all")->capture_default_str();
  app.add_option("--min-p", sampling.min_p, "drop what is less likely than p times the best; 0: none")->capture_default_str();
  app.add_option("--repeat-penalty", sampling.repetition_penalty, "for ids that came before; 1: none")->capture_default_str();
  app.add_option("--repeat-last-n", sampling.repetition_window, "how many ids back that looks; 0: all")->capture_default_str();
  app.add_option("-s,--seed", flags->seed, "random seed (default: a new one each time)");
  app.add_option("--stop", flags->generate.stop, "text that ends the generation; may be given several times");
  app.add_flag("--ignore-eos", flags->generate.ignore_end, "go on past the end token");
  app.add_option("--logprobs", flags->generate.logprobs, "log-probabilities of the k best tokens, in --json")->check(CLI::Range(0, 1000));
  app.add_option("--lookup", flags->lookup,
                 "draft tokens where the text repeats itself and verify them together: the same tokens, sooner; auto: where it pays")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  CLI::Option* draft =
      app.add_option("--draft", flags->draft, "a small model of the same vocabulary that drafts tokens, counted within --memory");
  app.add_option("--draft-tokens", flags->generate.speculation.draft_tokens, "tokens that it drafts in each step (default: as many as pay)")
      ->check(CLI::Range(std::uint64_t{1}, runtime::kMostDrafts))
      ->needs(draft);
  app.add_option("--trace", flags->trace, "what happened when, for Perfetto or chrome://tracing (JSON)");
  app.add_flag("-v,--verbose", flags->verbose, "print the plan");
  add_load_flags(app, flags->load);
  add_device_flags(app, flags->load);
  app.parse_complete_callback([flags, &app] {
    apply_preset(*flags, app);
    if (flags->draft && flags->searches())
      throw CLI::ValidationError("--draft", "a beam search takes its rows itself (give --beams 1, or --temp with a preset)");
    try {
      runtime::validate(flags->generate.sampling);
    } catch (const Error& e) { throw CLI::ValidationError(e.what()); }
  });
  return [flags](const CommonFlags& common) {
    flags->generate.sampling.seed = flags->seed ? *flags->seed : (std::uint64_t{std::random_device{}()} << 32 | std::random_device{}());
    const bool talk = flags->chat && !flags->prompt && !flags->prompt_file && !flags->ids && isatty(STDIN_FILENO);
    if (talk)
      converse(*flags, common);
    else
      run_once(*flags, common);
  };
}

}  // namespace leafcutter::tools
