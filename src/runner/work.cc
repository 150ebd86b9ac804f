#include "runner/work.h"

#include <algorithm>
#include <boost/json.hpp>

#include "runner/json.h"

namespace glovebox::runner {

namespace json = boost::json;

Result<std::optional<Work>> decode_work(std::string_view body) {
  if (trim(body).empty()) return std::optional<Work>();
  TRY(value, parse_json(body), "a work item");
  if (value.is_null()) return std::optional<Work>();
  if (!value.is_object()) return Error{Code::invalid, "a work item is not a JSON object"};
  Work work{.id = text(value, "id"),
            .environment_id = text(value, "environment_id"),
            .state = text(value, "state"),
            .token = sessions_token(text(value, "secret")),
            .json = Secret(std::string(body))};
  if (work.id.empty()) return std::optional<Work>();
  if (const json::value* data = member(value, "data")) {
    work.kind = text(*data, "type");
    if (work.kind == "session") work.session_id = text(*data, "id");
  }
  if (work.kind.empty()) work.kind = "healthcheck";  // old ones do not name themselves
  return std::optional<Work>(std::move(work));
}

static Beat beat_of(const json::value& value) {
  Beat beat{.last_heartbeat = text(value, "last_heartbeat"), .state = text(value, "state")};
  const json::value* extended = member(value, "lease_extended");
  beat.lease_extended = extended && extended->is_bool() && extended->get_bool();
  const json::value* ttl = member(value, "ttl_seconds");
  constexpr std::int64_t kDay = 86400;  // a longer lease is no lease
  if (ttl && ttl->is_int64())
    beat.ttl_seconds = std::clamp<std::int64_t>(ttl->get_int64(), 0, kDay);
  return beat;
}

Result<Beat> decode_beat(std::string_view body) {
  TRY(value, parse_json(body), "a heartbeat");
  if (!value.is_object()) return Error{Code::invalid, "a heartbeat is not a JSON object"};
  return beat_of(value);
}

Beat decode_refused_beat(std::string_view body) {
  Beat beat;
  if (auto value = parse_json(body)) {
    const json::value* found = &*value;
    for (const char* key : {"error", "details", "current_state"})
      if (found) found = member(*found, key);
    if (found) beat = beat_of(*found);
  }
  beat.accepted = false;
  return beat;
}

}  // namespace glovebox::runner
