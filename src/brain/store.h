// What the brain remembers, behind one narrow interface: SQLite here (sqlite_store*.cc); another
// store can take its place. Rows carry their JSON as text: whoever needs more than a column parses
// it. Calls are short and run on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::brain {

// Microseconds since 1970; 0 stands for "never" and is null in JSON.
using Micros = std::int64_t;

struct Event {
  std::int64_t seq = 0;  // 1, 2, … within its session; given by append()
  std::string id;        // sevt_…
  std::string type;
  Micros processed_at = 0;  // 0: still waits in line
  std::string json;  // the event as the API shows it, but for processed_at, which render() adds
  // What only the brain knows of it: the model's own content blocks of an answer, with the ids of
  // our events. Never shown to anyone.
  std::string memo;
  // The call that it makes, or that it is a client's result of: found by it (EventQuery::call), and
  // not read back.
  std::string call;
};

enum class SessionStatus { idle, running, rescheduling, terminated };
std::string_view name(SessionStatus status);
std::optional<SessionStatus> session_status(std::string_view name);

struct SessionRow {
  std::string id;
  std::string environment_id;
  std::string agent_id;
  std::int64_t agent_version = 0;
  std::string agent;  // JSON: the snapshot the session keeps (§5.1 of the API)
  std::optional<std::string> title;
  std::string metadata = "{}";   // JSON object
  std::string resources = "[]";  // JSON array, as the API shows it
  std::string usage = "{}";      // JSON object: totals over all model requests
  SessionStatus status = SessionStatus::idle;
  std::string stop_reason;  // of the last session.status_idle: "end_turn", "requires_action", …
  Micros created_at = 0, updated_at = 0, archived_at = 0;
  Micros active_us = 0;  // how long turns ran, all together
};

struct EventQuery {
  std::int64_t after = 0;  // seq, exclusive; 0: from the start (descending: from the end)
  bool descending = false;
  std::vector<std::string> types;  // empty: all
  std::optional<Micros> from, to;  // processed_at, both inclusive
  bool waiting = false;            // only those that wait in line
  std::string call;                // only those about this call, by an index; empty: all
  int limit = 1000;
  std::size_t max_bytes =
      0;                  // of JSON, all together: ends with the one that reaches it; 0: no limit
  bool with_memo = true;  // false: memo stays empty, and unread
  bool with_json = true;  // the same
};

class Store;
// The sessions and events of a store: what the turns need.
class SessionStore {
 public:
  virtual ~SessionStore() = default;

  virtual Result<void> add_session(const SessionRow& row) = 0;
  virtual Result<SessionRow> session(std::string_view id) = 0;  // Code::not_found
  virtual Result<void> save_session(const SessionRow& row) = 0;
  virtual Result<void> remove_session(std::string_view id) = 0;  // with its events and work
  // Of all sessions that are `running` or `rescheduling`, or wait with calls open, or have events
  // that wait in line: what a brain that starts has to look at.
  virtual Result<std::vector<std::string>> unfinished_sessions() = 0;

  // Gives each its seq. One statement of the whole: all of them, or none.
  virtual Result<void> append(std::string_view session, std::vector<Event>& events) = 0;
  virtual Result<std::vector<Event>> events(std::string_view session, const EventQuery& query) = 0;
  virtual Result<std::int64_t> last_seq(std::string_view session) = 0;
  virtual Result<void> set_processed(std::string_view session, std::int64_t seq, Micros at) = 0;

  // Everything `work` does is committed together, or not at all. May be nested.
  virtual Result<void> atomically(const std::function<Result<void>()>& work) = 0;
};

// The whole object: json with processed_at.
std::string render(const Event& event);

std::string rfc3339(Micros time);  // "2026-11-20T10:00:01.000210Z"
std::optional<Micros> parse_rfc3339(std::string_view text);
Micros now_us();

}  // namespace glovebox::brain
