#include "base/fault.h"
#include "base/metrics.h"
#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {

static metrics::Counter g_appended("brain_events_appended_total", "Events appended to sessions.");

Result<void> SqliteStore::append(std::string_view session, std::vector<Event>& events) {
  if (events.empty()) return ok;
  auto insert_all = [&]() -> Result<void> {
    TRY(number, number_of(session));
    TRY(last, last_seq(session));
    TRY(statement, db_.prepare("INSERT INTO events(place, id, type, processed_at, added_at, json, "
                               "memo, call) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
    const Micros now = now_us();
    for (Event& event : events) {
      event.seq = ++last;
      statement.bind(place(number, event.seq), event.id, event.type, event.processed_at, now,
                     event.json, event.memo, event.call);
      TRY_DO(statement.run(), "append to ", session);
    }
    return ok;
  };
  TRY_DO(atomically(insert_all));
  g_appended.add(events.size());
  return fault("brain.after_append");
}

Result<std::vector<Event>> SqliteStore::events(std::string_view session, const EventQuery& query) {
  TRY(number, number_of(session));
  // It may come from a cursor somebody made up: beyond this lie the events of other sessions.
  if (query.after < 0 || query.after > kLastSeq)
    return Error{Code::invalid, "page: this is no cursor of this list"};
  std::int64_t first = place(number, 0), last = place(number, kLastSeq);
  if (query.after && query.descending) last = place(number, query.after) - 1;
  if (query.after && !query.descending) first = place(number, query.after) + 1;

  std::string sql =
      str("SELECT place, id, type, processed_at", query.with_json ? ", json" : ", ''",
          query.with_memo ? ", memo" : "", " FROM events",
          query.call.empty() ? "" : " INDEXED BY events_of_calls", " WHERE place BETWEEN ? AND ?");
  if (!query.types.empty()) sql += " AND type IN (SELECT value FROM json_each(?))";
  if (query.from) sql += " AND processed_at >= ?";
  if (query.to) sql += " AND processed_at BETWEEN 1 AND ?";
  if (query.waiting) sql += " AND processed_at = 0";
  if (!query.call.empty()) sql += " AND call = ? AND call <> ''";  // as the index has it
  sql += str(" ORDER BY place ", query.descending ? "DESC" : "ASC", " LIMIT ?");
  TRY(statement, db_.prepare(sql));
  statement.bind(first, last);
  if (!query.types.empty()) statement.bind(json_list(query.types));
  if (query.from) statement.bind(*query.from);
  if (query.to) statement.bind(*query.to);
  if (!query.call.empty()) statement.bind(query.call);
  statement.bind(query.limit);
  std::vector<Event> events;
  std::size_t bytes = 0;
  while (query.max_bytes == 0 || bytes < query.max_bytes) {
    TRY(more, statement.step());
    if (!more) break;
    Event& event = events.emplace_back();
    event.seq = statement.integer(0) & kLastSeq;
    event.id = statement.text(1);
    event.type = statement.text(2);
    event.processed_at = statement.integer(3);
    event.json = statement.text(4);
    if (query.with_memo) event.memo = statement.text(5);
    bytes += event.json.size();
  }
  return events;
}

Result<std::int64_t> SqliteStore::last_seq(std::string_view session) {
  TRY(number, number_of(session));
  TRY(query, db_.prepare("SELECT max(place) FROM events WHERE place BETWEEN ? AND ?"));
  TRY_DO(query.bind(place(number, 0), place(number, kLastSeq)).step());
  return query.null(0) ? 0 : query.integer(0) & kLastSeq;
}

Result<void> SqliteStore::set_processed(std::string_view session, std::int64_t seq, Micros at) {
  TRY(number, number_of(session));
  TRY(statement, db_.prepare("UPDATE events SET processed_at = ? WHERE place = ?"));
  return statement.bind(at, place(number, seq)).run();
}

Result<std::int64_t> SqliteStore::count_events(std::string_view session) {
  TRY(number, number_of(session));
  TRY(query, db_.prepare("SELECT count(*) FROM events WHERE place BETWEEN ? AND ?"));
  TRY_DO(query.bind(place(number, 0), place(number, kLastSeq)).step());
  return query.integer(0);
}

}  // namespace glovebox::brain
