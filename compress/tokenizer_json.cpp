#include "compress/tokenizer_json.h"

#include <optional>

#include "base/error.h"
#include "compress/merge_builder.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

constexpr int kDepth = 32;
constexpr std::size_t kSmallValues = 200'000;  // values of everything that is not vocabulary or merges: added tokens, pre-tokenizer, ...
constexpr std::size_t kSmallBytes = 8u << 20;  // their texts together
constexpr std::size_t kStringBytes = 2u << 20, kScalarBytes = 256, kBufferBytes = 64u << 10;
constexpr std::size_t kHoles = 65536;

// The text a buffer at a time. The library's lexer keeps a whole string or number before anybody can refuse it: their lengths are watched here.
class Stream {
 public:
  Stream(const TextSource& source, const std::string& file) : source_(source), file_(file), buffer_(kBufferBytes) { fill(); }

  bool at_end() const { return count_ == 0; }
  char current() const { return buffer_[at_]; }
  void advance() {
    watch(buffer_[at_]);
    if (++at_ == count_) fill();
  }

 private:
  void fill() {
    offset_ += count_;
    at_ = 0;
    count_ = source_(offset_, buffer_);
  }

  void watch(char c) {
    run_++;
    if (in_string_) {
      if (run_ > kStringBytes) refuse("a text of more than " + std::to_string(kStringBytes) + " bytes");
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false, run_ = 0;
    } else if (c == '"') {
      in_string_ = true, run_ = 0;
    } else if (std::string_view("{}[]:, \t\r\n").find(c) != std::string_view::npos) {
      run_ = 0;
    } else if (run_ > kScalarBytes) {
      refuse("a number or word of more than " + std::to_string(kScalarBytes) + " bytes");
    }
  }

  [[noreturn]] void refuse(const std::string& problem) const {
    throw Error(ErrorKind::bad_file, file_ + ", byte " + std::to_string(offset_ + at_), problem);
  }

  const TextSource& source_;
  const std::string& file_;
  std::vector<char> buffer_;
  std::uint64_t offset_ = 0;
  std::size_t at_ = 0, count_ = 0, run_ = 0;
  bool in_string_ = false, escaped_ = false;
};

struct StreamIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  Stream* stream = nullptr;  // null: the end
  char operator*() const { return stream->current(); }
  StreamIterator& operator++() {
    stream->advance();
    return *this;
  }
  void operator++(int) { stream->advance(); }
  bool operator==(const StreamIterator& other) const { return ended() == other.ended(); }
  bool operator!=(const StreamIterator& other) const { return !(*this == other); }

 private:
  bool ended() const { return !stream || stream->at_end(); }
};

class Handler : public nlohmann::json_sax<json> {
 public:
  Handler(const std::string& file, TokenizerJson& out, bool merges_alone) : file_(file), out_(out), merges_alone_(merges_alone) {
    if (merges_alone) merge_builder_.emplace(out.tokens, file);
  }

  bool merges_before_vocabulary = false;  // they were passed over: they need a second reading

  void finish() {
    if (!merges_alone_) out_.rest = std::move(rest_);
    if (merge_builder_) out_.merges = merge_builder_->take();
  }

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_integer(number_integer_t v) override { return value(v); }
  bool number_unsigned(number_unsigned_t v) override {
    if (where_ != Where::vocabulary) return value(v);
    if (vocabulary_.size() == TokenizerLimits::kTokens)
      refuse("model.vocab", "more than " + std::to_string(TokenizerLimits::kTokens) + " tokens");
    if (!merges_alone_) vocabulary_.emplace_back(std::move(key_), v);
    return true;
  }
  bool number_float(number_float_t v, const string_t&) override { return value(v); }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& v) override {
    if (where_ == Where::merges || where_ == Where::merge) return merge_part(v);
    count_bytes(v.size());
    return value(std::move(v));
  }

  bool start_object(std::size_t) override {
    deeper();
    if (where_ == Where::passed_over) return true;
    if (where_ != Where::rest) refuse(where_name(), "holds an object");
    if (depth_ == 3 && in_model_ && key_ == "vocab") {
      where_ = Where::vocabulary;
      return true;
    }
    open(json::object());
    if (depth_ == 2 && key_of_top_ == "model") in_model_ = true;
    return true;
  }

  bool end_object() override {
    if (where_ == Where::vocabulary)
      end_vocabulary();
    else if (where_ != Where::passed_over)
      stack_.pop_back();
    if (depth_ == 2) in_model_ = false;
    depth_--;
    return true;
  }

  bool start_array(std::size_t) override {
    deeper();
    if (where_ == Where::passed_over) return true;
    if (where_ == Where::merges) {
      where_ = Where::merge;
      parts_ = 0;
      return true;
    }
    if (where_ != Where::rest) refuse(where_name(), "holds an array");
    if (depth_ == 3 && in_model_ && (key_ == "merges" || key_ == "vocab")) {
      merges_before_vocabulary = merges_before_vocabulary || (key_ == "merges" && !merge_builder_);
      where_ = key_ == "merges" && merge_builder_ ? Where::merges : Where::passed_over;
      return true;
    }
    open(json::array());
    return true;
  }

  bool end_array() override {
    if (where_ == Where::merge) {
      if (parts_ != 2) refuse("model.merges", "merge " + std::to_string(merge_builder_->size()) + " is no pair");
      merge_builder_->add(left_, right_);
      where_ = Where::merges;
    } else if (where_ == Where::merges) {
      where_ = Where::rest;
    } else if (where_ == Where::passed_over) {
      if (depth_ == 3) where_ = Where::rest;
    } else {
      stack_.pop_back();
    }
    depth_--;
    return true;
  }

  bool key(string_t& v) override {
    if (where_ == Where::passed_over) return true;
    key_ = std::move(v);
    if (key_.size() > TokenizerLimits::kTokenBytes) refuse(where_name(), "a key of " + std::to_string(key_.size()) + " bytes");
    if (where_ == Where::rest) count_bytes(key_.size());
    if (depth_ == 1) key_of_top_ = key_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw Error(ErrorKind::bad_file, file_, "is no JSON at byte " + std::to_string(position));
  }

 private:
  enum class Where { rest, vocabulary, merges, merge, passed_over };

  [[noreturn]] void refuse(const std::string& field, const std::string& problem) const {
    throw Error(ErrorKind::bad_file, file_ + ", field " + field, problem);
  }
  const char* where_name() const { return where_ == Where::vocabulary ? "model.vocab" : where_ == Where::rest ? "a part" : "model.merges"; }

  void deeper() {
    if (++depth_ > kDepth) refuse("a part", "nested deeper than " + std::to_string(kDepth));
  }

  void count_bytes(std::size_t bytes) {
    small_bytes_ += bytes;
    if (small_bytes_ > kSmallBytes) refuse("a part", "texts of more than " + std::to_string(kSmallBytes) + " bytes");
  }

  json* place(json value) {
    if (++small_values_ > kSmallValues) refuse("a part", "more than " + std::to_string(kSmallValues) + " values");
    if (stack_.empty()) return &(rest_ = std::move(value));
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  void open(json value) { stack_.push_back(place(std::move(value))); }

  bool value(json v) {
    if (where_ == Where::passed_over) return true;
    if (where_ != Where::rest) refuse(where_name(), "holds something else than expected");
    place(std::move(v));
    return true;
  }

  // Ids may have holes, but not many more of them than there are tokens.
  void end_vocabulary() {
    where_ = Where::rest;
    if (merges_alone_) return;
    const std::size_t most = std::min(2 * vocabulary_.size() + kHoles, TokenizerLimits::kTokens);
    for (auto& [text, id] : vocabulary_) {
      if (id >= most) refuse("model.vocab", "id " + std::to_string(id) + " for " + std::to_string(vocabulary_.size()) + " tokens");
      if (id >= out_.tokens.size()) {
        out_.tokens.resize(id + 1);
        out_.kinds.resize(id + 1, TokenKind::unused);
      }
      out_.tokens[id] = std::move(text);
      out_.kinds[id] = TokenKind::normal;
    }
    vocabulary_ = {};
    merge_builder_.emplace(out_.tokens, file_);
  }

  bool merge_part(std::string& text) {
    if (where_ == Where::merges) {  // "a b"
      const std::size_t space = text.find(' ', 1);
      if (space == std::string::npos) refuse("model.merges", "merge " + std::to_string(merge_builder_->size()) + " has no space");
      merge_builder_->add(std::string_view(text).substr(0, space), std::string_view(text).substr(space + 1));
    } else if (parts_++ == 0) {
      left_ = std::move(text);
    } else {
      right_ = std::move(text);
    }
    return true;
  }

  const std::string& file_;
  TokenizerJson& out_;
  const bool merges_alone_;
  json rest_ = json::object();
  std::vector<std::pair<std::string, std::uint64_t>> vocabulary_;
  std::optional<MergeBuilder> merge_builder_;
  std::vector<json*> stack_;
  std::string key_, key_of_top_, left_, right_;
  Where where_ = Where::rest;
  bool in_model_ = false;
  int depth_ = 0, parts_ = 0;
  std::size_t small_values_ = 0, small_bytes_ = 0;
};

}  // namespace

TokenizerJson read_tokenizer_json(const TextSource& source, const std::string& file) {
  TokenizerJson out;
  const auto pass = [&](bool merges_alone) {
    Stream stream(source, file);
    Handler handler(file, out, merges_alone);
    json::sax_parse(StreamIterator{&stream}, StreamIterator{}, &handler);
    handler.finish();
    return handler.merges_before_vocabulary;
  };
  if (pass(false)) pass(true);
  return out;
}

}  // namespace leafcutter::compress
