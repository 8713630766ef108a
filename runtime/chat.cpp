#include "runtime/chat.h"

#include "base/error.h"

namespace leafcutter::runtime {
namespace {

using Messages = std::span<const ChatMessage>;

// A prompt as markers and text between them. Text is encoded whole from marker to marker, as it would be when a template's output is parsed.
class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void text(const std::string& part) { pending_ += part; }

  // A marker that must be a token.
  void marker(const char* spelling) { token(tokenizer_.marker(spelling), spelling); }
  // One that is plain text in vocabularies that have no token for it.
  void marker_or_text(const char* spelling) {
    if (const auto id = tokenizer_.marker(spelling))
      token(id, spelling);
    else
      text(spelling);
  }
  void begin() { token(tokenizer_.begin_token(), "bos_token"); }
  void end() { token(tokenizer_.end_token(), "eos_token"); }

  std::vector<std::uint32_t> take() {
    flush();
    return std::move(ids_);
  }

 private:
  void token(const std::optional<std::uint32_t>& id, const char* spelling) {
    if (!id) throw Error(ErrorKind::bad_file, "chat template", std::string("its marker ") + spelling + " is no token of the vocabulary");
    flush();
    ids_.push_back(*id);
  }

  void flush() {
    const std::vector<std::uint32_t> ids = ids_.empty() ? tokenizer_.encode(pending_) : tokenizer_.encode_after(pending_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    pending_.clear();
  }

  const Tokenizer& tokenizer_;
  std::vector<std::uint32_t> ids_;
  std::string pending_;
};

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\n\r\f\v";
  const std::size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? std::string() : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

void chatml_message(Writer& out, const std::string& role, const std::string& content) {
  out.marker("<|im_start|>");
  out.text(role + "\n" + content);
  out.marker("<|im_end|>");
  out.text("\n");
}

void chatml(Writer& out, Messages messages) {
  for (const ChatMessage& message : messages) chatml_message(out, message.role, message.content);
  out.marker("<|im_start|>");
  out.text("assistant\n");
}

void chatml_smollm2(Writer& out, Messages messages) {
  if (messages.empty() || messages.front().role != "system")
    chatml_message(out, "system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
  chatml(out, messages);
}

void gemma(Writer& out, Messages messages) {
  out.begin();
  for (const ChatMessage& message : messages) {
    if (message.role == "system")
      throw Error(ErrorKind::usage, "chat template", "it has no place for a system message", "put it in front of the question");
    out.marker("<start_of_turn>");
    out.text((message.role == "assistant" ? "model" : message.role) + "\n" + trimmed(message.content));
    out.marker("<end_of_turn>");
    out.text("\n");
  }
  out.marker("<start_of_turn>");
  out.text("model\n");
}

void llama2(Writer& out, Messages messages) {
  std::string system;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") {
      system = "<<SYS>>\n" + trimmed(message.content) + "\n<</SYS>>\n\n";
    } else if (message.role == "assistant") {
      out.text(" " + trimmed(message.content) + " ");
      out.end();
    } else {
      out.begin();
      out.text("[INST] " + trimmed(system + message.content) + " [/INST]");
      system.clear();
    }
  }
}

void zephyr(Writer& out, Messages messages) {
  const auto open = [&](const std::string& role) {
    out.marker_or_text(("<|" + role + "|>").c_str());
    out.text("\n");
  };
  for (const ChatMessage& message : messages) {
    open(message.role);
    out.text(message.content);
    out.end();
    out.text("\n");
  }
  open("assistant");
}

struct ChatTemplate {
  const char* name;
  void (*write)(Writer& out, Messages messages);
};

constexpr ChatTemplate kTemplates[] = {
    {"chatml", chatml}, {"chatml-smollm2", chatml_smollm2}, {"gemma", gemma}, {"llama2", llama2}, {"zephyr", zephyr},
};

const ChatTemplate* find_template(const Tokenizer& tokenizer) {
  for (const ChatTemplate& known : kTemplates)
    if (tokenizer.chat_template_name() == known.name) return &known;
  return nullptr;
}

}  // namespace

bool has_chat_template(const Tokenizer& tokenizer) { return find_template(tokenizer) != nullptr; }

std::vector<std::uint32_t> chat_prompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  const ChatTemplate* known = find_template(tokenizer);
  if (!known)
    throw Error(ErrorKind::unsupported, "--chat", "the model's chat template is none of the known ones (ChatML, Gemma, LLaMA 2, Zephyr)",
                "give the prompt as the model wants it, without --chat");
  Writer out(tokenizer);
  known->write(out, messages);
  return out.take();
}

}  // namespace leafcutter::runtime
