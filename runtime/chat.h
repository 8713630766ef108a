// Conversations as prompt ids. The model's template is recognised, not interpreted: a built-in per known template (a row in chat.cpp); others are refused by name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/tokenizer.h"

namespace leafcutter::runtime {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// Does the tokenizer carry a chat template that is known here?
bool has_chat_template(const Tokenizer& tokenizer);

// ids of the whole conversation with the opening of the assistant's turn at the end. Special tokens come from the template alone, never from contents. Throws Error(unsupported).
std::vector<std::uint32_t> chat_prompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages);

}  // namespace leafcutter::runtime
