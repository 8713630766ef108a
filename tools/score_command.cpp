// leafcutter score MODEL [PROMPT]: how likely the model finds given answers to a prompt, as classification and multiple choice need it.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "runtime/prompt_rows.h"
#include "runtime/score.h"
#include "tools/command.h"
#include "tools/console.h"
#include "tools/id_list.h"
#include "tools/load_flags.h"
#include "tools/model_source.h"
#include "tools/run_report.h"

namespace leafcutter::tools {
namespace {

using nlohmann::ordered_json;

struct ScoreFlags {
  std::string model;
  std::string prompt, ids;
  std::vector<std::string> options, option_ids;
  std::uint32_t task = runtime::kTextTask;
  LoadFlags load;
};

struct Question {
  runtime::Ids prompt;
  std::vector<runtime::Ids> options;
};

Question question_of(const ScoreFlags& flags, const std::string& path) {
  Question question;
  if (!flags.ids.empty()) question.prompt = parse_ids(flags.ids, "--ids");
  for (const std::string& ids : flags.option_ids) question.options.push_back(parse_ids(ids, "--option-ids"));
  if (flags.ids.empty() || !flags.options.empty()) {
    const auto tokenizer = load_tokenizer(path);
    if (!tokenizer) throw Error(ErrorKind::unsupported, flags.model, "has no tokenizer inside", "give --ids and --option-ids");
    if (flags.ids.empty()) {
      question.prompt = tokenizer->encode(flags.prompt);
      if (tokenizer->begin_id()) question.prompt.insert(question.prompt.begin(), *tokenizer->begin_id());
    }
    for (const std::string& text : flags.options) question.options.push_back(tokenizer->encode(text));
  }
  return question;
}

}  // namespace

RunCommand add_score(CLI::App& app) {
  auto flags = std::make_shared<ScoreFlags>();
  app.add_option("MODEL", flags->model, "a .leaf or a checkpoint")->required();
  auto* prompt = app.add_option("PROMPT", flags->prompt, "what the answers follow");
  auto* ids =
      app.add_option("--ids", flags->ids, "the prompt as ids; nothing is added (CPM-Ant: the prompt slots of --task still stand in front)");
  prompt->excludes(ids);
  app.add_option("--option", flags->options, "an answer; several times");
  app.add_option("--option-ids", flags->option_ids, "an answer as ids: 5,17; several times");
  app.add_option("--task", flags->task, "CPM-Ant: the prompt slots to begin with")->capture_default_str();
  add_load_flags(app, flags->load);
  app.parse_complete_callback([flags, prompt] {
    if (flags->ids.empty() && prompt->count() == 0) throw CLI::RequiredError("PROMPT or --ids");
    if (flags->options.empty() && flags->option_ids.empty()) throw CLI::RequiredError("--option or --option-ids");
    if (!flags->options.empty() && !flags->option_ids.empty()) throw CLI::ValidationError("--option and --option-ids do not mix");
  });
  return [flags](const CommonFlags& common) {
    const std::stop_token stop = stop_on_signal();
    Notes notes(common.quiet);
    const std::string path = resolve_model(flags->model, notes, stop);
    const Question question = question_of(*flags, path);
    runtime::LoadOptions options = flags->load.options(path);
    runtime::plan_for_score(options, question.options, prompt_slots_of(path) + question.prompt.size());
    options.stop = stop;
    const auto model = runtime::Model::load(path, options);
    const RunMeter meter(*model);
    const auto scores = runtime::score_options(*model, question.prompt, question.options, flags->task, stop);
    const auto best = std::max_element(scores.begin(), scores.end(),
                                       [](const runtime::OptionScore& a, const runtime::OptionScore& b) { return a.logprob < b.logprob; });
    for (std::size_t i = 0; i < scores.size(); i++) {
      const double mean = scores[i].logprob / static_cast<double>(scores[i].tokens.size());
      if (common.json)
        print_json({{"event", "option"},
                    {"index", i},
                    {"ids", question.options[i]},
                    {"logprob", scores[i].logprob},
                    {"mean_logprob", mean},
                    {"token_logprobs", scores[i].tokens}});
      else
        print_text(fmt::format("{:4}  {:12.6f}  {:10.6f} a token, {} tokens{}\n", i, scores[i].logprob, mean, scores[i].tokens.size(),
                               flags->options.empty() ? "" : "  " + flags->options[i]));
    }
    if (common.json) {
      ordered_json done = {{"event", "done"}, {"best", best - scores.begin()}, {"prompt_ids", question.prompt}};
      done.update(meter.json());
      print_json(done);
    }
    notes.succeeded();
  };
}

}  // namespace leafcutter::tools
