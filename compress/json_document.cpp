#include "compress/json_document.h"

#include <cmath>

#include "base/error.h"
#include "compress/printable_text.h"

namespace leafcutter::compress {
namespace {

using nlohmann::json;

[[noreturn]] void wrong(const std::string& file, const char* field, const json& found, const char* expected) {
  throw Error(
      ErrorKind::bad_file, file + ", field " + field,
      std::string("expected ") + expected + ", found " + printable_text(found.dump(-1, ' ', true, json::error_handler_t::replace), 60));
}

const json* present(const json& object, const char* field) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

json parse_json_document(std::string_view text, const std::string& file, std::size_t most_bytes) {
  if (text.size() > most_bytes)
    throw Error(ErrorKind::bad_file, file,
                "has " + std::to_string(text.size()) + " bytes; at most " + std::to_string(most_bytes) + " are read");
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    if (depth > kJsonDocumentDepth) throw Error(ErrorKind::bad_file, file, "is nested deeper than " + std::to_string(kJsonDocumentDepth));
    return true;
  };
  try {
    json root = json::parse(text.begin(), text.end(), watch);
    if (!root.is_object()) throw Error(ErrorKind::bad_file, file, "holds no JSON object");
    return root;
  } catch (const json::parse_error& e) {
    throw Error(ErrorKind::bad_file, file, "is no JSON at byte " + std::to_string(e.byte));
  } catch (const json::out_of_range&) { throw Error(ErrorKind::bad_file, file, "holds a number past the range of doubles"); }
}

std::uint64_t json_number(const json& object, const char* field, std::uint64_t fallback, const std::string& file) {
  const json* value = present(object, field);
  if (!value) return fallback;
  if (!value->is_number_unsigned()) wrong(file, field, *value, "a whole number");
  return value->get<std::uint64_t>();
}

double json_real(const json& object, const char* field, double fallback, const std::string& file) {
  const json* value = present(object, field);
  if (!value) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>())) wrong(file, field, *value, "a number");
  return value->get<double>();
}

bool json_flag(const json& object, const char* field, bool fallback, const std::string& file) {
  const json* value = present(object, field);
  if (!value) return fallback;
  if (!value->is_boolean()) wrong(file, field, *value, "true or false");
  return value->get<bool>();
}

std::string json_text(const json& object, const char* field, const std::string& fallback, const std::string& file) {
  const json* value = present(object, field);
  if (!value) return fallback;
  if (!value->is_string()) wrong(file, field, *value, "a text");
  return value->get<std::string>();
}

}  // namespace leafcutter::compress
