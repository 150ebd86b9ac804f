#include "gateway/uplink_grant.h"

#include <algorithm>
#include <boost/json.hpp>

#include "http/client.h"
#include "http/custom_headers.h"

namespace glovebox::gateway {

namespace json = boost::json;

namespace {

constexpr std::size_t kLongestId = 128, kLongestCredential = 4096, kMostIds = 1000;

Result<std::string> text_of(const json::object& from, std::string_view key) {
  const json::value* found = from.if_contains(key);
  if (!found || !found->is_string())
    return Error{Code::invalid, str(key, ": must be there, and be a string")};
  return std::string(std::string_view(found->get_string()));
}

Result<std::string> id_of(const json::object& from, std::string_view key) {
  TRY(id, text_of(from, key));
  if (!plain_id(id)) return Error{Code::invalid, str(key, ": is no id")};
  return id;
}

Result<const json::array*> list_of(const json::object& from, std::string_view key) {
  static const json::array kNone;
  const json::value* found = from.if_contains(key);
  if (!found) return &kNone;
  if (!found->is_array() || found->get_array().size() > kMostIds)
    return Error{Code::invalid, str(key, ": must be a list of at most ", kMostIds)};
  return &found->get_array();
}

Result<void> check_members(const json::object& object,
                           std::initializer_list<std::string_view> known) {
  for (const auto& member : object)
    if (std::ranges::find(known, std::string_view(member.key())) == known.end())
      return Error{Code::invalid, str("there is no member ", std::string_view(member.key()))};
  return ok;
}

Result<Grant::Store> store_of(const json::value& value) {
  if (!value.is_object()) return Error{Code::invalid, "must be objects"};
  TRY_DO(check_members(value.get_object(), {"id", "read_only"}));
  Grant::Store store;
  TRY(id, id_of(value.get_object(), "id"));
  store.id = id;
  const json::value* read_only = value.get_object().if_contains("read_only");
  if (!read_only || !read_only->is_bool())
    return Error{Code::invalid, "read_only: must be true or false"};
  store.read_only = read_only->get_bool();
  return store;
}

// What would be put into a header.
bool is_credential(std::string_view text) {
  return !text.empty() && text.size() <= kLongestCredential &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

bool plain_id(std::string_view text) {
  return !text.empty() && text.size() <= kLongestId && text != "." && text != ".." &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

const Grant::Store* Grant::store(std::string_view id) const {
  auto found = std::ranges::find(stores, id, &Store::id);
  return found == stores.end() ? nullptr : &*found;
}

bool Grant::has_skill(std::string_view id) const {
  return std::ranges::find(skills, id) != skills.end();
}

Result<Grant> decode_grant(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return Error{Code::invalid, "a grant is a JSON object"};
  const json::object& object = value.get_object();
  TRY_DO(check_members(object, {"environment_id", "work_id", "session_id", "service_url", "headers",
                                "credential", "skills", "memory_stores"}));
  Grant grant;
  for (auto [key, into] : {std::pair{"environment_id", &grant.environment},
                           {"work_id", &grant.work},
                           {"session_id", &grant.session}}) {
    TRY(id, id_of(object, key));
    *into = id;
  }
  TRY(url, text_of(object, "service_url"));
  TRY_DO(http::Url::parse(url), "service_url");
  grant.service_url = url;
  if (object.contains("headers")) {
    TRY(lines, text_of(object, "headers"));
    TRY(headers, http::parse_custom_headers(lines), "headers");
    // Whose call it is, the credential alone says.
    for (auto name : {"Authorization", "x-api-key"}) headers.remove(name);
    grant.headers = std::move(headers);
  }
  TRY(credential, text_of(object, "credential"));
  if (!is_credential(credential)) return Error{Code::invalid, "credential: is none"};
  grant.credential = Secret(std::move(credential));
  TRY(skills, list_of(object, "skills"));
  for (const json::value& skill : *skills) {
    if (!skill.is_string() || !plain_id(std::string_view(skill.get_string())))
      return Error{Code::invalid, "skills: must be ids"};
    grant.skills.emplace_back(std::string_view(skill.get_string()));
  }
  TRY(stores, list_of(object, "memory_stores"));
  for (const json::value& one : *stores) {
    TRY(store, store_of(one), "memory_stores");
    grant.stores.push_back(std::move(store));
  }
  return grant;
}

}  // namespace glovebox::gateway
