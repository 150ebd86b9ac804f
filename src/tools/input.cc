#include "tools/input.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "base/characters.h"

namespace glovebox::tools {
namespace {

std::optional<std::int64_t> whole_number(const boost::json::value& value) {
  if (auto number = value.if_int64()) return *number;
  if (value.if_uint64()) return INT64_MAX;  // only what is too large for the other
  if (auto number = value.if_double(); number && std::trunc(*number) == *number) {
    if (*number >= 0x1p63) return INT64_MAX;
    if (*number < -0x1p63) return INT64_MIN;
    return static_cast<std::int64_t>(*number);
  }
  return std::nullopt;
}

}  // namespace

Input::Input(std::string_view tool, std::shared_ptr<const boost::json::object> object)
    : tool_(tool), object_(std::move(object)) {}

Result<Input> Input::parse(std::string_view tool, std::string_view json) {
  boost::system::error_code error;
  auto value = boost::json::parse(whole_characters(json), error);
  if (error) return Error{Code::invalid, str(tool, ": input is not valid JSON: ", error.message())};
  if (!value.is_object()) return Error{Code::invalid, str(tool, ": input must be a JSON object")};
  return Input(tool, std::make_shared<const boost::json::object>(std::move(value.get_object())));
}

const boost::json::value* Input::find(std::string_view name) const {
  const boost::json::value* value = object_->if_contains(name);
  return value && !value->is_null() ? value : nullptr;
}

Error Input::must_be(std::string_view name, std::string_view what) const {
  return {Code::invalid, str(tool_, ": ", name, " must be ", what)};
}

Result<std::optional<std::string>> Input::text(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (!value) return std::optional<std::string>{};
  if (!value->is_string()) return must_be(name, "a string");
  return std::optional<std::string>(std::string_view(value->get_string()));
}

Result<std::string> Input::required(std::string_view name) const {
  TRY(value, text(name));
  if (!value || value->empty()) return Error{Code::invalid, str(tool_, ": ", name, " is required")};
  return *std::move(value);
}

Result<bool> Input::flag(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (!value) return false;
  if (!value->is_bool()) return must_be(name, "a boolean");
  return value->get_bool();
}

Result<std::optional<std::int64_t>> Input::integer(std::string_view name) const {
  const boost::json::value* value = find(name);
  if (!value) return std::optional<std::int64_t>{};
  auto number = whole_number(*value);
  if (!number) return must_be(name, "an integer");
  return number;
}

std::optional<std::vector<std::int64_t>> Input::integers(std::string_view name) const {
  std::vector<std::int64_t> numbers;
  const boost::json::value* value = find(name);
  if (!value) return numbers;
  if (!value->is_array()) return std::nullopt;
  for (const auto& element : value->get_array()) {
    auto number = whole_number(element);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace glovebox::tools
