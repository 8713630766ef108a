// What a run did: budget and peak, bytes read, how busy disk and cores were; as JSON and as one line for people.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/generate.h"
#include "runtime/model.h"

namespace leafcutter::tools {

// Takes counters when it is made and gives differences.
class RunMeter {
 public:
  explicit RunMeter(const runtime::Model& model);
  nlohmann::ordered_json json() const;
  std::string text(std::size_t prompt_tokens, const runtime::GenerationResult& result) const;

 private:
  const runtime::Model& model_;
  offload::PagerStats before_;
  double busy_before_;
  std::chrono::steady_clock::time_point start_;
};

// Drafts and what they gave. The text is empty where there were none.
nlohmann::ordered_json speculation_json(const runtime::SpeculationReport& report);
std::string speculation_text(const runtime::SpeculationReport& report);

// The plan of a loaded model, several lines.
std::string plan_text(const runtime::Model& model);
nlohmann::ordered_json plan_json(const offload::Plan& plan);

// The tokenizer of a .leaf; null when there is none.
std::unique_ptr<runtime::Tokenizer> load_tokenizer(const std::string& path);

// Positions that stand in front of a text in the model of a .leaf (CPM-Ant's prompt slots).
std::uint64_t prompt_slots_of(const std::string& path);

}  // namespace leafcutter::tools
