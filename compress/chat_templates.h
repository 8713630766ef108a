// Chat templates that are recognised: their Jinja source is compared, never run.
#pragma once

#include <string>

#include "compress/tokenizer_data.h"

namespace leafcutter::compress {

// "chatml-smollm2" (ChatML with SmolLM2's default system message), "chatml", "gemma", "llama2", "zephyr" (TinyLlama); empty when it is another one.
std::string recognise_chat_template(const std::string& jinja);

// For people, when there is a template that is not known; else empty.
std::string unknown_template_note(const TokenizerData& data);

}  // namespace leafcutter::compress
