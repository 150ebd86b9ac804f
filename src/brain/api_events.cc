// A session's events: history, sending, the stream.
#include <algorithm>

#include "base/metrics.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

metrics::Counter g_streamed("brain_events_streamed_total", "Events and previews sent on streams.");

constexpr int kEventsPage = 1000;
constexpr std::size_t kPageBytes = 8 << 20;  // a page ends with the event that reaches it
constexpr std::size_t kMaxFilters = 100;
constexpr Millis kPing{15'000};      // proxies cut what is silent for longer
constexpr Millis kLookAgain{1'000};  // at a credential

struct EventList {
  EventQuery query;
  std::string text;  // of all of it, for cursors
};

Result<EventList> event_list(const std::string& session, const Query& query) {
  EventList list;
  TRY(ascending, query.ascending(true));
  TRY(created, query.times("created_at"));
  list.query.descending = !ascending;
  list.query.types = query.list("types");
  if (list.query.types.size() > kMaxFilters) return Error{Code::invalid, "types: are too many"};
  list.query.from = created.from;
  list.query.to = created.to;
  list.query.max_bytes = kPageBytes;
  list.query.with_memo = false;
  list.text = str("events ", session, ' ', ascending, ' ', created.from.value_or(0), ' ',
                  created.to.value_or(0));
  for (const auto& type : list.query.types) list.text += str(' ', type);
  return list;
}

// One name for all: clients of all generations let it pass, and look at the JSON's own type.
std::string frame(std::string_view event_json) {
  return str("event: message\ndata: ", event_json, "\n\n");
}

// The headers a credential came in, to look it up again by.
http::Request credentials_of(const http::Request& request) {
  http::Request only;
  for (std::string_view name : {"x-api-key", "Authorization"})
    if (auto value = request.headers.get(name)) only.headers.set(name, std::string(*value));
  return only;
}

Task<void> follow(std::shared_ptr<EventLog::Follower> follower, std::string first,
                  const Keyring& keyring, http::Request credentials, http::BodyWriter& out) {
  using Steady = std::chrono::steady_clock;
  if (!first.empty()) CO_TRY_DO(co_await out.write(std::move(first)));
  auto looked = Steady::now();
  for (;;) {
    auto events = co_await follower->next(kPing);
    // Who is shut out hears no more, however long ago this stream was opened.
    if (auto now = Steady::now(); now - looked >= kLookAgain) {
      looked = now;
      if (!keyring.credential_of(credentials)) co_return ok;
    }
    if (!events && events.error().code == Code::gone) co_return ok;
    if (!events) co_return std::move(events.error());
    std::string frames;
    for (const auto& event : *events) frames += frame(event);
    g_streamed.add(events->size());
    if (frames.empty()) frames = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    CO_TRY_DO(co_await out.write(std::move(frames)));
  }
}

// A worker's runner looks at live events alone: one that comes too late would wait for ever.
Result<std::string> last_word(Store& store, const SessionRow& row) {
  if (row.status != SessionStatus::terminated) return "";
  TRY(found, store.events(row.id, {.descending = true,
                                   .types = {"session.status_terminated"},
                                   .limit = 1,
                                   .with_memo = false}));
  return found.empty() ? "" : frame(render(found.front()));
}

bool starts_turn(const json::array& events) {
  return std::ranges::any_of(events, [](const json::value& event) {
    const json::value* type = event.is_object() ? event.get_object().if_contains("type") : nullptr;
    return type && type->is_string() && type->get_string() == "user.message";
  });
}

}  // namespace

Reply list_events(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY(list, event_list(row.id, call.query));
  CO_TRY(page, page_of(call.query, list.text, kEventsPage));
  list.query.after = page.cursor.number;
  list.query.limit = page.limit;
  CO_TRY(events, call.api.store.events(row.id, list.query));
  std::string data, next = "null";
  for (const Event& event : events) data += str(data.empty() ? "" : ",", render(event));
  if (events.size() == static_cast<std::size_t>(page.limit) || data.size() >= kPageBytes) {
    list.query.after = events.back().seq;
    list.query.limit = 1;
    CO_TRY(more, call.api.store.events(row.id, list.query));
    if (!more.empty()) next = str('"', encode_cursor({events.back().seq}, list.text), '"');
  }
  co_return http::json(200, str(R"({"data":[)", data, R"(],"next_page":)", next, '}'));
}

Reply send_events(Call call) {
  CO_TRY(row, session_of(call));
  CO_TRY_DO(check_newest(call));
  CO_TRY(body, body_of(call.request));
  const json::value* events = body.if_contains("events");
  if (!events || !events->is_array() || events->get_array().empty())
    co_return Error{Code::invalid, "events: must be an array with at least one event"};
  if (row.status == SessionStatus::idle && starts_turn(events->get_array()) &&
      call.api.sessions.running() >=
          static_cast<std::size_t>(call.api.options.max_sessions_running))
    co_return Error{Code::exhausted, "too many sessions are running: try again later"};
  CO_TRY(stored, call.api.sessions.send(row.id, events->get_array()));
  std::string data;
  for (const Event& event : stored) data += str(data.empty() ? "" : ",", render(event));
  co_return http::json(200, str(R"({"data":[)", data, "]}"));
}

Reply stream_events(Call call) {
  CO_TRY(row, session_of(call));
  auto deltas = call.query.list("event_deltas");
  if (deltas.size() > kMaxFilters) co_return Error{Code::invalid, "event_deltas: are too many"};
  for (const auto& kind : deltas)
    if (kind != "agent.message" && kind != "agent.thinking")
      co_return Error{Code::invalid, "event_deltas: must be of agent.message and agent.thinking"};
  CO_TRY(follower, call.api.log.follow(row.id, std::move(deltas)));
  CO_TRY(first, last_word(call.api.store, row));
  http::Response response;
  response.headers.set("Content-Type", "text/event-stream");
  response.headers.set("Cache-Control", "no-store");
  response.stream = [shared = std::shared_ptr<EventLog::Follower>(std::move(follower)), first,
                     &keyring = call.api.keyring,
                     credentials = credentials_of(call.request)](http::BodyWriter& out) {
    return follow(shared, first, keyring, credentials, out);
  };
  co_return response;
}

}  // namespace glovebox::brain
