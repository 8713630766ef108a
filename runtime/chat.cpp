#include "runtime/chat.h"

#include "base/error.h"

namespace leafcutter::runtime {
namespace {

struct ChatTemplate {
  const char* name;
  const char* default_system;  // put in front when a conversation does not begin with a system message; null: nothing
};

constexpr ChatTemplate kTemplates[] = {
    {"chatml", nullptr},
    {"chatml-smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
};

const ChatTemplate* find_template(const Tokenizer& tokenizer) {
  for (const ChatTemplate& known : kTemplates)
    if (tokenizer.chat_template_name() == known.name) return &known;
  return nullptr;
}

class ChatMl {
 public:
  explicit ChatMl(const Tokenizer& tokenizer) : tokenizer_(tokenizer), start_(marker("<|im_start|>")), end_(marker("<|im_end|>")) {}

  void message(const std::string& role, const std::string& content) {
    open(role, content);
    ids_.push_back(end_);
    text("\n");
  }
  void open(const std::string& role, const std::string& content = {}) {
    ids_.push_back(start_);
    text(role + "\n" + content);
  }
  std::vector<std::uint32_t> take() { return std::move(ids_); }

 private:
  std::uint32_t marker(const char* token) const {
    const auto id = tokenizer_.id_of(token);
    if (!id) throw Error(ErrorKind::bad_file, "chat template", std::string("its marker ") + token + " is no token of the vocabulary");
    return *id;
  }
  void text(const std::string& part) {
    const std::vector<std::uint32_t> ids = tokenizer_.encode(part);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

  const Tokenizer& tokenizer_;
  const std::uint32_t start_, end_;
  std::vector<std::uint32_t> ids_;
};

}  // namespace

bool has_chat_template(const Tokenizer& tokenizer) { return find_template(tokenizer) != nullptr; }

std::vector<std::uint32_t> chat_prompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  const ChatTemplate* known = find_template(tokenizer);
  if (!known)
    throw Error(ErrorKind::unsupported, "--chat", "the model's chat template is not one of the known ones (chatml)",
                "give the prompt as the model wants it, without --chat");
  ChatMl chat(tokenizer);
  if (known->default_system && (messages.empty() || messages.front().role != "system")) chat.message("system", known->default_system);
  for (const ChatMessage& message : messages) chat.message(message.role, message.content);
  chat.open("assistant");
  return chat.take();
}

}  // namespace leafcutter::runtime
