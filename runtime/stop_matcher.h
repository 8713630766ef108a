// Finds stop strings in text that arrives in pieces, and holds back what may be the beginning of one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace leafcutter::runtime {

// Not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  // What may be given out now. After a stop string was found nothing more comes out.
  std::string push(std::string_view text);
  // What was held back, when the text has ended without a stop string.
  std::string flush();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace leafcutter::runtime
