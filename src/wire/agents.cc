#include "wire/agents.h"

#include <algorithm>
#include <boost/json.hpp>

namespace glovebox::wire {

namespace json = boost::json;

namespace {

constexpr std::size_t kMaxStores = 64;  // the service has 8

const json::value* member(const json::value& value, std::string_view key) {
  return value.is_object() ? value.get_object().if_contains(key) : nullptr;
}

std::string text(const json::value& value, std::string_view key) {
  const json::value* found = member(value, key);
  return found && found->is_string() ? std::string(std::string_view(found->get_string())) : "";
}

}  // namespace

std::vector<SkillRef> skills_of(const json::value& session) {
  std::vector<SkillRef> skills;
  const json::value* agent = member(session, "agent");
  const json::value* list = agent ? member(*agent, "skills") : nullptr;
  if (!list || !list->is_array()) return skills;
  for (const json::value& one : list->get_array()) {
    SkillRef skill{text(one, "skill_id"), text(one, "version")};
    if (skill.version.empty()) skill.version = "latest";
    if (!skill.id.empty()) skills.push_back(std::move(skill));
  }
  return skills;
}

std::vector<MemoryStore> memory_stores_of(const json::value& session) {
  std::vector<MemoryStore> stores;
  const json::value* list = member(session, "resources");
  if (!list || !list->is_array()) return stores;
  for (const json::value& one : list->get_array()) {
    if (text(one, "type") != "memory_store" || stores.size() == kMaxStores) continue;
    stores.push_back({text(one, "memory_store_id"), text(one, "name"), text(one, "mount_path"),
                      text(one, "access") == "read_only"});
  }
  return stores;
}

Secret sessions_token(std::string_view secret) {
  std::string text64(secret);
  while (text64.ends_with('=')) text64.pop_back();
  std::ranges::replace(text64, '+', '-');
  std::ranges::replace(text64, '/', '_');
  auto bytes = unbase64url(text64);
  if (!bytes) return Secret();
  boost::system::error_code error;
  json::value value = json::parse(*bytes, error);
  return error ? Secret() : Secret(text(value, "sessions_token"));
}

}  // namespace glovebox::wire
