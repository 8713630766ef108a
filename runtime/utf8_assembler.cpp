#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

namespace leafcutter::runtime {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";

}  // namespace

std::string Utf8Assembler::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  std::size_t at = 0;
  while (at < pending_.size()) {
    const Utf8Step step = next_character(std::string_view(pending_).substr(at));
    if (step.kind == Utf8Step::Kind::incomplete) break;
    if (step.kind == Utf8Step::Kind::whole)
      out.append(pending_, at, step.bytes);
    else
      out += kReplacement;
    at += step.bytes;
  }
  pending_.erase(0, at);
  return out;
}

std::string Utf8Assembler::flush() {
  std::string out = pending_.empty() ? "" : kReplacement;
  pending_.clear();
  return out;
}

}  // namespace leafcutter::runtime
