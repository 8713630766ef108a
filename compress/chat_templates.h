// Chat templates that are recognised: their Jinja source is compared, never run.
#pragma once

#include <string>

namespace leafcutter::compress {

// "chatml-smollm2" (ChatML with SmolLM2's default system message), "chatml"; empty when it is another one.
std::string recognise_chat_template(const std::string& jinja);

}  // namespace leafcutter::compress
