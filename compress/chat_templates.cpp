#include "compress/chat_templates.h"

namespace leafcutter::compress {

std::string recognise_chat_template(const std::string& jinja) {
  const auto has = [&](const char* part) { return jinja.find(part) != std::string::npos; };
  // ChatML: every message between <|im_start|>role\n and <|im_end|>\n. Anything that treats tools, images or other roles apart is another template.
  const bool chatml =
      has("<|im_start|>") && has("<|im_end|>") && has("message['role']") && has("message['content']") && has("add_generation_prompt");
  if (!chatml || has("tool") || has("image") || has("think") || has("raise_exception")) return {};
  if (has("You are a helpful AI assistant named SmolLM, trained by Hugging Face") && has("messages[0]['role'] != 'system'"))
    return "chatml-smollm2";
  return has("system") ? std::string() : "chatml";
}

}  // namespace leafcutter::compress
