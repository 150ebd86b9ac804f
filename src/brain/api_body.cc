#include "brain/api_body.h"

#include <algorithm>
#include <boost/json.hpp>

namespace glovebox::brain {

namespace json = boost::json;

Result<json::object> body_of(const http::Request& request) {
  if (trim(request.body).empty()) return json::object{};
  TRY(value, wire::parse_json(request.body), "the body");
  if (!value.is_object()) return Error{Code::invalid, "the body: must be a JSON object"};
  return std::move(value.get_object());
}

std::size_t characters(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::ranges::count_if(utf8, [](char c) { return (c & 0xc0) != 0x80; }));
}

Result<std::optional<std::string>> text_up_to(wire::Members& members, std::string_view key,
                                              std::size_t max_characters) {
  TRY(text, members.text(key, max_characters * 4));
  if (text && characters(*text) > max_characters)
    return members.wrong(key, str("has more than ", max_characters, " characters"));
  return text;
}

Result<std::string> required_text(wire::Members& members, std::string_view key,
                                  std::size_t max_characters) {
  TRY(text, text_up_to(members, key, max_characters));
  if (!text) return members.wrong(key, "is required");
  if (trim(*text).empty()) return members.wrong(key, "must not be empty");
  return std::move(*text);
}

Result<json::value> text_or_null(wire::Members& members, std::string_view key,
                                 std::size_t max_characters, json::value current) {
  if (!members.raw().contains(key)) return current;
  TRY(text, text_up_to(members, key, max_characters));
  if (!text || text->empty()) return json::value(nullptr);
  return json::value(*text);
}

namespace {

constexpr std::size_t kMaxPairs = 16, kMaxKey = 64, kMaxValue = 512;

Error invalid_metadata(std::string what) {
  return Error{Code::invalid, "metadata" + what, "invalid_metadata"};
}

Result<void> check_metadata(const json::object& metadata) {
  if (metadata.size() > kMaxPairs)
    return invalid_metadata(str(": has more than ", kMaxPairs, " pairs"));
  for (const auto& [key, value] : metadata) {
    std::string_view name(key.data(), key.size());
    if (name.empty() || characters(name) > kMaxKey)
      return invalid_metadata(str(": keys have 1 to ", kMaxKey, " characters"));
    const auto* text = value.if_string();
    if (!text) return invalid_metadata(str(".", name, ": must be a string"));
    if (characters(*text) > kMaxValue)
      return invalid_metadata(str(".", name, ": has more than ", kMaxValue, " characters"));
    if (name.contains('\0') || std::string_view(*text).contains('\0'))
      return invalid_metadata(": must not hold a NUL character");
  }
  return ok;
}

}  // namespace

Result<json::object> metadata_of(wire::Members& members) {
  return patch_metadata(members, json::object{});
}

Result<json::object> patch_metadata(wire::Members& members, json::object current) {
  const json::value* patch = members.take("metadata");
  if (!patch) return current;
  if (!patch->is_object()) return invalid_metadata(": must be an object of strings");
  for (const auto& [key, value] : patch->get_object()) {
    if (value.is_null() || (value.is_string() && value.get_string().empty()))
      current.erase(key);
    else
      current[key] = value;
  }
  TRY_DO(check_metadata(current));
  return current;
}

Result<json::object> patch_metadata(wire::Members& members, std::string_view current) {
  TRY(stored, wire::parse_json(current), "stored metadata");
  if (!stored.is_object()) return Error{Code::internal, "stored metadata is no object"};
  return patch_metadata(members, std::move(stored.get_object()));
}

std::string time_json(Micros time) { return time ? str('"', rfc3339(time), '"') : "null"; }
std::string text_json(std::string_view text) { return str('"', json_escape(text), '"'); }
std::string text_or_null_json(const std::optional<std::string>& text) {
  return text ? text_json(*text) : "null";
}

}  // namespace glovebox::brain
