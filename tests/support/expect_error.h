// What every error of ours must be: one line that says file, place and problem.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <optional>
#include <string>

#include "base/error.h"

namespace leafcutter::test {

// The message of the Error that `work` throws; none: it threw nothing. Other exceptions pass through and fail the test.
template <class Work>
std::optional<std::string> error_of(Work&& work) {
  try {
    work();
  } catch (const Error& e) { return std::string(e.what()); }
  return std::nullopt;
}

// Checks that `work` throws an Error whose message is one line of sane length with all of `parts` in it.
template <class Work>
void expect_error(Work&& work, std::initializer_list<std::string> parts) {
  const std::optional<std::string> message = error_of(work);
  REQUIRE_MESSAGE(message.has_value(), "accepted");
  CAPTURE(*message);
  CHECK(message->find('\n') == std::string::npos);
  CHECK(message->size() < 600);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(message->find(part) != std::string::npos);
  }
}

}  // namespace leafcutter::test
