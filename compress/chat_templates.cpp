#include "compress/chat_templates.h"

#include <string_view>

namespace leafcutter::compress {
namespace {

bool has(const std::string& jinja, std::string_view part) { return jinja.find(part) != std::string::npos; }
bool has_all(const std::string& jinja, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (!has(jinja, part)) return false;
  return true;
}
bool has_any(const std::string& jinja, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (has(jinja, part)) return true;
  return false;
}
bool trims(const std::string& jinja) { return has_any(jinja, {"| trim", "|trim", ".strip()"}); }

// Every message between <|im_start|>role\n and <|im_end|>\n.
std::string chatml(const std::string& jinja) {
  if (!has_all(jinja, {"<|im_start|>", "<|im_end|>", "message['role']", "message['content']", "add_generation_prompt"})) return {};
  if (has(jinja, "raise_exception")) return {};
  if (has_all(jinja, {"You are a helpful AI assistant named SmolLM, trained by Hugging Face", "messages[0]['role'] != 'system'"}))
    return "chatml-smollm2";
  return has(jinja, "system") ? std::string() : "chatml";
}

// <start_of_turn>user\n and <start_of_turn>model\n, contents trimmed, no system messages.
std::string gemma(const std::string& jinja) {
  if (!has_all(jinja, {"<start_of_turn>", "<end_of_turn>", "model", "bos_token", "add_generation_prompt"}) || !trims(jinja)) return {};
  return !has(jinja, "system") || has(jinja, "System role not supported") ? "gemma" : std::string();
}

// [INST] with the system message between <<SYS>> marks in the first question, contents trimmed.
std::string llama2(const std::string& jinja) {
  return has_all(jinja, {"[INST] ", " [/INST]", "<<SYS>>\\n", "\\n<</SYS>>\\n\\n", "bos_token", "eos_token"}) && trims(jinja)
             ? "llama2"
             : std::string();
}

// <|user|>\n, the contents as they are, the end token and a line break.
std::string zephyr(const std::string& jinja) {
  if (!has_all(jinja, {"'<|user|>\\n' + message['content'] + eos_token", "'<|assistant|>\\n'", "'<|system|>\\n'", "add_generation_prompt"}))
    return {};
  return trims(jinja) || has(jinja, "raise_exception") ? std::string() : "zephyr";
}

}  // namespace

std::string recognise_chat_template(const std::string& jinja) {
  if (has_any(jinja, {"tool", "image", "think"})) return {};  // treats some messages apart
  for (const auto& recognise : {chatml, gemma, llama2, zephyr})
    if (std::string name = recognise(jinja); !name.empty()) return name;
  return {};
}

std::string unknown_template_note(const TokenizerData& data) {
  if (data.chat_template.empty() || !data.template_name.empty()) return {};
  return "its chat template is none of the known ones (ChatML, Gemma, LLaMA 2, Zephyr): it runs without --chat";
}

}  // namespace leafcutter::compress
