#include "runner/json.h"

#include <boost/json.hpp>
#include <cmath>

#include "base/characters.h"

namespace glovebox::runner {

namespace json = boost::json;

Result<json::value> parse_json(std::string_view text, json::storage_ptr memory) {
  json::parse_options options;
  options.max_depth = 1000;
  boost::system::error_code error;
  json::value value = json::parse(text, error, memory, options);
  if (error) value = json::parse(whole_characters(text), error, std::move(memory), options);
  if (error) return Error{Code::invalid, str("not valid JSON: ", error.message())};
  return value;
}

Result<json::value> parse_json(std::string_view text) {
  return parse_json(text, json::storage_ptr());
}

static void make_finite(json::value& value) {
  if (value.is_double() && !std::isfinite(value.get_double())) value = nullptr;
  if (value.is_object())
    for (auto& [key, part] : value.get_object()) make_finite(part);
  if (value.is_array())
    for (json::value& part : value.get_array()) make_finite(part);
}

std::string write_json(json::value value) {
  make_finite(value);
  return json::serialize(value);
}

const json::value* member(const json::value& value, std::string_view key) {
  return value.is_object() ? value.get_object().if_contains(key) : nullptr;
}

std::string text(const json::value& value, std::string_view key) {
  const json::value* found = member(value, key);
  return found && found->is_string() ? std::string(std::string_view(found->get_string())) : "";
}

}  // namespace glovebox::runner
