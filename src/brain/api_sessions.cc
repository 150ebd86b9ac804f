// Sessions and their threads, of which each has one.
#include <algorithm>

#include "brain/agent_definition.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/session_change.h"
#include "net/task.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxTitle = 1000, kMaxFilters = 100;
constexpr double kMicrosPerSecond = 1e6;

std::string stats_json(const SessionRow& row) {
  const Micros end = row.archived_at                                       ? row.archived_at
                     : row.status == SessionStatus::idle && row.updated_at ? row.updated_at
                                                                           : now_us();
  return str(R"({"active_seconds":)", static_cast<double>(row.active_us) / kMicrosPerSecond,
             R"(,"duration_seconds":)",
             static_cast<double>(std::max<Micros>(end - row.created_at, 0)) / kMicrosPerSecond,
             '}');
}

std::string thread_json(const SessionRow& row) {
  return str(R"({"id":")", primary_thread(row.id), R"(","type":"session_thread","session_id":")",
             row.id, R"(","parent_thread_id":null,"agent":)", row.agent, R"(,"status":")",
             row.status, R"(","stats":)", stats_json(row), R"(,"usage":)", row.usage,
             R"(,"workflow_run_id":null,"created_at":)", time_json(row.created_at),
             R"(,"updated_at":)", time_json(row.updated_at), R"(,"archived_at":)",
             time_json(row.archived_at), '}');
}

Result<SessionRow> thread_of(const Call& call) {
  TRY(row, session_of(call));
  if (call.param("thread") != primary_thread(row.id))
    return Error{Code::not_found, str("session ", row.id, " has no thread ", call.param("thread"))};
  return row;
}

Result<std::vector<std::string>> statuses_of(const Query& query) {
  auto statuses = query.list("statuses");
  for (const auto& status : statuses)
    if (!session_status(status))
      return Error{Code::invalid,
                   "statuses: must be of idle, running, rescheduling and terminated"};
  if (statuses.size() > kMaxFilters) return Error{Code::invalid, "statuses: are too many"};
  return statuses;
}

struct SessionList {
  SessionQuery query;
  bool none = false;  // a filter that nothing here can pass
  std::string text;   // of all of it, for cursors
};

Result<SessionList> session_list(const Query& query) {
  SessionList list;
  SessionQuery& rows = list.query;
  TRY(version, query.integer("agent_version", 1, std::numeric_limits<std::int64_t>::max()));
  TRY(created, query.times("created_at"));
  TRY(archived, query.flag("include_archived"));
  TRY(ascending, query.ascending(false));
  TRY(statuses, statuses_of(query));
  rows.agent_id = query.text("agent_id").value_or("");
  rows.agent_version = version;
  rows.created_from = created.from;
  rows.created_to = created.to;
  rows.include_archived = archived;
  rows.ascending = ascending;
  rows.statuses = std::move(statuses);
  rows.memory_store_id = query.text("memory_store_id").value_or("");
  list.none = query.text("deployment_id").has_value();
  list.text =
      str("sessions ", ascending, ' ', archived, ' ', rows.agent_id, ' ', rows.memory_store_id, ' ',
          version.value_or(0), ' ', created.from.value_or(0), ' ', created.to.value_or(0));
  for (const auto& status : rows.statuses) list.text += str(' ', status);
  return list;
}

}  // namespace

std::string session_json(const SessionRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"session","status":")", row.status, R"(","title":)",
             text_or_null_json(row.title), R"(,"agent":)", row.agent, R"(,"environment_id":")",
             row.environment_id, R"(","metadata":)", row.metadata, R"(,"resources":)",
             row.resources, R"(,"vault_ids":[],"usage":)", row.usage, R"(,"stats":)",
             stats_json(row),
             R"(,"budget":null,"outcome_evaluations":[],"deployment_id":null,"created_at":)",
             time_json(row.created_at), R"(,"updated_at":)",
             time_json(std::max(row.updated_at, row.created_at)), R"(,"archived_at":)",
             time_json(row.archived_at), '}');
}

Reply list_sessions(Call call) {
  CO_TRY(list, session_list(call.query));
  CO_TRY(page, page_of(call.query, list.text));
  const Cursor& at = page.cursor;
  list.query.from = at.number;
  list.query.ascending = list.query.ascending != at.backward;
  list.query.limit = page.limit + 1;
  std::vector<Listed<SessionRow>> rows;
  if (!list.none) {
    CO_TRY(found, call.api.store.sessions(list.query));
    rows = std::move(found);
  }
  const bool further = rows.size() > static_cast<std::size_t>(page.limit);
  if (further) rows.pop_back();
  if (at.backward) std::ranges::reverse(rows);
  std::string data, next = "null", previous = "null";
  for (const auto& listed : rows) data += str(data.empty() ? "" : ",", session_json(listed.row));
  if (!rows.empty()) {
    if (at.backward || further)
      next = str('"', encode_cursor({rows.back().number, false}, list.text), '"');
    if (at.backward ? further : at.number != 0)
      previous = str('"', encode_cursor({rows.front().number, true}, list.text), '"');
  }
  co_return http::json(
      200, str(R"({"data":[)", data, R"(],"next_page":)", next, R"(,"prev_page":)", previous, '}'));
}

Reply get_session(Call call) {
  CO_TRY(row, session_of(call));
  co_return http::json(200, session_json(row));
}

Reply update_session(Call call) {
  CO_TRY(row, session_of(call));
  if (row.archived_at) co_return Error{Code::invalid, str("session ", row.id, " is archived")};
  CO_TRY(parsed, body_of(call.request));
  const json::value whole(std::move(parsed));
  CO_TRY(body, Members::of(whole));
  json::object changed;
  if (body.raw().contains("title")) {
    CO_TRY(title, text_up_to(body, "title", kMaxTitle));
    if (title && title->empty()) title.reset();
    if (title != row.title) changed["title"] = title ? json::value(*title) : json::value(nullptr);
    row.title = std::move(title);
  }
  CO_TRY(metadata, patch_metadata(body, std::string_view(row.metadata)));
  if (std::string text = json::serialize(metadata); text != row.metadata) {
    changed["metadata"] = std::move(metadata);
    row.metadata = std::move(text);
  }
  if (const json::value* agent = body.take("agent")) {
    if (!agent->is_object()) co_return body.wrong("agent", "must be an object");
    for (const auto& [key, value] : agent->get_object())
      if (key != "tools" && key != "mcp_servers")
        co_return body.wrong("agent", "only tools and mcp_servers of a session's agent change");
    CO_TRY(current, wire::parse_json(row.agent), "stored agent of ", row.id);
    CO_TRY(whole_agent, override_definition(current.as_object(), agent->get_object()));
    CO_TRY_DO(check_runnable(whole_agent));
    if (whole_agent != current.as_object()) {
      row.agent = wire::to_json(whole_agent);
      changed["agent"] = std::move(whole_agent);
    }
  }
  if (body.take("budget"))
    co_return Error{Code::invalid, "budget: can only be given when a session is created",
                    "budget_create_only"};
  if (body.take("vault_ids")) co_return body.wrong("vault_ids", "cannot be changed");
  body.done();
  if (!changed.empty()) CO_TRY_DO(call.api.sessions.update(row, changed));
  CO_TRY(now, call.api.store.session(row.id));
  co_return http::json(200, session_json(now));
}

Reply delete_session(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY_DO(call.api.sessions.remove(row.id));
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"session_deleted"})"));
}

Reply archive_session(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY(archived, call.api.sessions.archive(row.id));
  co_return http::json(200, session_json(archived));
}

Reply list_resources(Call call) {
  CO_TRY(row, session_of(call));
  co_return http::json(200, str(R"({"data":)", row.resources, R"(,"next_page":null})"));
}

Reply add_resource(Call call) {
  CO_TRY_DO(session_of(call));
  co_return Error{Code::invalid,
                  "file and github_repository resources are not supported with self-hosted "
                  "environments"};
}

Reply no_resource(Call call) {
  CO_TRY(row, session_of(call));
  co_return Error{Code::not_found,
                  str("session ", row.id, " has no resource ", call.param("resource"))};
}

Reply list_threads(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY(statuses, statuses_of(call.query));
  const std::string filters = "threads " + row.id;
  CO_TRY(page, page_of(call.query, filters));
  const bool shown =
      !page.cursor.number &&
      (statuses.empty() || std::ranges::find(statuses, name(row.status)) != statuses.end());
  co_return http::json(
      200, str(R"({"data":[)", shown ? thread_json(row) : "", R"(],"next_page":null})"));
}

Reply get_thread(Call call) {
  CO_TRY(row, thread_of(call));
  co_return http::json(200, thread_json(row));
}

Reply archive_thread(Call call) {
  CO_TRY_DO(thread_of(call));
  co_return Error{Code::invalid, "the primary thread is archived with its session"};
}

// api_events.cc has what they say; the thread is the session here.
Reply list_thread_events(Call call) {
  CO_TRY_DO(thread_of(call));
  co_return co_await list_events(std::move(call));
}

Reply stream_thread_events(Call call) {
  CO_TRY_DO(thread_of(call));
  co_return co_await stream_events(std::move(call));
}

}  // namespace glovebox::brain
