#include "gateway/uplink_body.h"

#include <algorithm>
#include <boost/json.hpp>

namespace glovebox::gateway {

namespace json = boost::json;

namespace {

constexpr std::size_t kDeepest = 32;
// Every value costs memory beyond its bytes: "[1,1,1…" would become ten times its size.
constexpr std::size_t kMostValues = 20'000;
constexpr std::size_t kMostEvents = 100, kMostBlocks = 1000;

// Counts what can start a value, outside of strings; no parser needed to be an upper limit.
std::size_t values_in(std::string_view text) {
  std::size_t count = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted) {
      if (text[i] == '\\')
        ++i;
      else if (text[i] == '"')
        quoted = false;
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == ',' || text[i] == '[' || text[i] == '{') {
      ++count;
    }
  }
  return count;
}

// Of two members with one name readers take either: the parser keeps the last, and only what it
// kept is written.
Result<json::object> object_of(std::string_view text) {
  if (values_in(text) > kMostValues) return Error{Code::too_large, "the body has too many parts"};
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = kDeepest;
  json::value value = json::parse(text, error, {}, options);
  if (error) return Error{Code::invalid, str("the body is no JSON: ", error.message())};
  if (!value.is_object()) return Error{Code::invalid, "the body must be an object"};
  return std::move(value.get_object());
}

enum class Type { text, boolean, blocks };

bool is(const json::value& value, Type type) {
  switch (type) {
    case Type::text: return value.is_string();
    case Type::boolean: return value.is_bool();
    case Type::blocks: return value.is_array() && value.get_array().size() <= kMostBlocks;
  }
  return false;
}

// Moves a member over, where it is there; null counts as absent.
Result<void> take(json::object& from, json::object& into, std::string_view key, Type type) {
  json::value* found = from.if_contains(key);
  if (!found || found->is_null()) return ok;
  if (!is(*found, type)) return Error{Code::invalid, str(key, ": is of the wrong kind")};
  into[key] = std::move(*found);
  return ok;
}

Result<void> demand(json::object& from, json::object& into, std::string_view key, Type type) {
  TRY_DO(take(from, into, key, type));
  if (!into.contains(key)) return Error{Code::invalid, str(key, ": is missing")};
  return ok;
}

constexpr std::string_view kBlocks[] = {"text", "image", "document", "search_result"};

Result<void> check_blocks(const json::object& event) {
  const json::value* content = event.if_contains("content");
  if (!content) return ok;
  for (const json::value& block : content->get_array()) {
    const json::value* type = block.is_object() ? block.get_object().if_contains("type") : nullptr;
    if (!type || !type->is_string() ||
        std::ranges::find(kBlocks, std::string_view(type->get_string())) == std::end(kBlocks))
      return Error{Code::invalid, "content: has a block of a kind that is no result"};
  }
  return ok;
}

Result<json::object> result_event(json::value& given) {
  if (!given.is_object()) return Error{Code::invalid, "an event must be an object"};
  json::object& from = given.get_object();
  json::object event;
  TRY_DO(demand(from, event, "type", Type::text));
  const json::string& type = event["type"].get_string();
  if (type != "user.tool_result")
    return Error{Code::forbidden, "a worker posts results of tool calls, and nothing else"};
  TRY_DO(demand(from, event, "tool_use_id", Type::text));
  TRY_DO(take(from, event, "is_error", Type::boolean));
  TRY_DO(take(from, event, "content", Type::blocks));
  TRY_DO(check_blocks(event));
  return event;
}

}  // namespace

Result<std::string> rewrite_events(std::string_view text) {
  TRY(body, object_of(text));
  json::value* events = body.if_contains("events");
  if (!events || !events->is_array() || events->get_array().empty() ||
      events->get_array().size() > kMostEvents)
    return Error{Code::invalid, str("events: must be a list of 1 to ", kMostEvents)};
  json::array out;
  for (json::value& given : events->get_array()) {
    TRY(event, result_event(given), "events");
    out.emplace_back(std::move(event));
  }
  return json::serialize(json::object{{"events", std::move(out)}});
}

Result<std::string> rewrite_stop(std::string_view text) {
  if (trim(text).empty()) return std::string("{}");
  TRY(body, object_of(text));
  json::object out;
  TRY_DO(take(body, out, "force", Type::boolean));
  return json::serialize(out);
}

Result<std::string> rewrite_new_memory(std::string_view text) {
  TRY(body, object_of(text));
  json::object out;
  TRY_DO(demand(body, out, "path", Type::text));
  TRY_DO(demand(body, out, "content", Type::text));
  return json::serialize(out);
}

Result<std::string> rewrite_memory_change(std::string_view text) {
  TRY(body, object_of(text));
  json::object out;
  TRY_DO(take(body, out, "content", Type::text));
  TRY_DO(take(body, out, "path", Type::text));
  if (json::value* given = body.if_contains("precondition"); given && !given->is_null()) {
    if (!given->is_object()) return Error{Code::invalid, "precondition: must be an object"};
    json::object precondition;
    TRY_DO(demand(given->get_object(), precondition, "type", Type::text));
    TRY_DO(demand(given->get_object(), precondition, "content_sha256", Type::text));
    out["precondition"] = std::move(precondition);
  }
  return json::serialize(out);
}

}  // namespace glovebox::gateway
