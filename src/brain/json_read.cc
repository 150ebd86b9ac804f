#include "brain/json_read.h"

#include <boost/json.hpp>

namespace glovebox::brain {

namespace json = boost::json;

json::object parse_object(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return {};
  return std::move(value.get_object());
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found && found->is_string() ? std::string(found->get_string()) : "";
}

std::int64_t integer_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found && found->is_int64() ? found->get_int64() : 0;
}

bool flag_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found && found->is_bool() && found->get_bool();
}

const json::object* object_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found ? found->if_object() : nullptr;
}

const json::array* array_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found ? found->if_array() : nullptr;
}

}  // namespace glovebox::brain
