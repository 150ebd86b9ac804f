#include "brain/session_change.h"

#include <boost/json.hpp>

#include "brain/conversation.h"
#include "brain/ids.h"
#include "brain/json_read.h"
#include "wire/to_json.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::string_view kNoUsage =
    R"({"input_tokens":0,"output_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0})";
constexpr std::string_view kInterrupted =
    "The user interrupted the turn before this call was done.";

std::string quoted(std::string_view text) { return str('"', json_escape(text), '"'); }

std::string text_content(std::string_view text) {
  return str(R"([{"type":"text","text":)", quoted(text), "}]");
}

std::string error_result(std::string_view key, std::string_view call, std::string_view text) {
  return str('"', key, "\":", quoted(call), R"(,"is_error":true,"content":)", text_content(text));
}

std::string event_json(std::string_view type, std::string_view id, std::string_view members) {
  return str(R"({"type":")", type, R"(","id":")", id, '"', members.empty() ? "" : ",", members,
             '}');
}

}  // namespace

std::string primary_thread(std::string_view session) {
  auto bar = session.find('_');
  return str("sthr_", bar == session.npos ? session : session.substr(bar + 1));
}

// The store gives the next number to each event: ours, since nobody else appends to a session.
void Change::put(Event event) {
  event.seq = state.last_seq + 1;
  if (event.type == "agent.tool_use" || event.type == "agent.custom_tool_use")
    event.call = event.id;
  state.apply(event);
  events.push_back(std::move(event));
}

std::string Change::add(std::string_view type, std::string_view members, std::string memo,
                        std::string call) {
  std::string id = new_id("sevt");
  put({.id = id,
       .type = std::string(type),
       .processed_at = now_us(),
       .json = event_json(type, id, members),
       .memo = std::move(memo),
       .call = std::move(call)});
  return id;
}

std::string Change::add_with_id(std::string id, std::string_view type, std::string_view members) {
  std::string json = event_json(type, id, members);
  put({.id = id, .type = std::string(type), .processed_at = now_us(), .json = std::move(json)});
  return id;
}

void Change::add_stamped(const ClientEvent& event) {
  bool system = event.kind == ClientEvent::Kind::system;
  add_client(event, now_us(), system ? std::string(kStandsHere) : "");
}

void Change::add_client(const ClientEvent& event, Micros processed_at, std::string memo) {
  put({.id = event.id,
       .type = event.type,
       .processed_at = processed_at,
       .json = event.json,
       .memo = std::move(memo),
       .call = event.kind == ClientEvent::Kind::confirmation ? "" : event.call});
}

const std::string& Change::thread_members() {
  if (thread_.empty())
    thread_ = str(R"("session_thread_id":)", quoted(primary_thread(row.id)), R"(,"agent_name":)",
                  quoted(text_of(parse_object(row.agent), "name")));
  return thread_;
}

void Change::start_turn() {
  Micros now = now_us();
  std::vector<std::string> takes;
  for (const QueuedMessage& message : state.queued) {
    takes.push_back(message.id);
    bool here = false;
    for (Event& event : events)
      if (event.id == message.id) {
        event.processed_at = now;
        here = true;
      }
    if (!here) applied_.emplace_back(message.seq, now);
  }
  state.queued.clear();
  add("session.status_running", "", takes_memo(takes));
  tell("session.status_run_started");
  add("session.thread_status_running", thread_members());
  row.status = SessionStatus::running;
  want_worker();
}

void Change::continue_turn() {
  add("session.status_running");
  tell("session.status_run_started");
  add("session.thread_status_running", thread_members());
  row.status = SessionStatus::running;
}

void Change::leave_running() {
  if (state.phase == Phase::running && state.running_since > 0)
    row.active_us += std::max<Micros>(now_us() - state.running_since, 0);
}

void Change::reschedule() {
  leave_running();
  add("session.thread_status_rescheduled", thread_members());
  add("session.status_rescheduled");
  tell("session.status_rescheduled");
  row.status = SessionStatus::rescheduling;
}

// Nothing may follow session.status_idle: a worker takes what follows for news and stays.
void Change::idle(std::string_view stop_reason, std::string_view stop_details) {
  leave_running();
  if (active()) tell("session.status_idled");
  json::object usage = parse_object(row.usage);
  usage["active_seconds"] = static_cast<double>(row.active_us / 1000) / 1000;
  row.usage = wire::to_json(usage);
  std::string why = str(R"("stop_reason":)", stop_reason, R"(,"stop_details":)", stop_details);
  add("session.usage", str(R"("usage":)", row.usage, R"(,"budget":null)"));
  add("session.thread_status_idle", str(thread_members(), ',', why));
  add("session.status_idle", why);
  row.status = SessionStatus::idle;
  row.stop_reason = state.stop_reason;
}

void Change::wait_for_calls() {
  json::array ids;
  for (const OpenCall& call : state.open) ids.emplace_back(call.id);
  if (state.waits_for(WaitsFor::worker)) want_worker();
  idle(str(R"({"type":"requires_action","event_ids":)", json::serialize(ids), '}'));
  open_before_ = state.open.size();
}

void Change::end_request(std::string_view is_error, std::string_view usage, std::string memo) {
  if (state.request.empty()) return;
  add("span.model_request_end",
      str(R"("model_request_start_id":")", state.request, R"(","is_error":)", is_error,
          R"(,"model_usage":)", usage.empty() ? kNoUsage : usage),
      std::move(memo));
}

void Change::error(std::string_view type, std::string_view message, std::string_view retry_status) {
  add("session.error", str(R"("error":{"type":)", quoted(type), R"(,"message":)", quoted(message),
                           R"(,"retry_status":{"type":)", quoted(retry_status), "}}"));
}

void Change::refuse_call(std::string_view id, std::string_view text) {
  add("agent.tool_result", error_result("tool_use_id", id, text));
}

// A worker leaves some time after the last status_idle, and counts anew when anything follows it:
// said again, or it stays for ever.
void Change::still_idle() {
  if (state.phase != Phase::idle || state.stop_reason.empty()) return;
  idle(state.stop_reason == "retries_exhausted" ? R"({"type":"retries_exhausted"})"
                                                : R"({"type":"end_turn"})");
}

void Change::interrupt() {
  if (state.phase == Phase::idle) return still_idle();
  if (state.phase == Phase::terminated) return;
  interrupted_ = true;
  end_request("true", "", "");
  // As results of the user's, not of ours: only those tell a worker that comes later that the call
  // is not to be run.
  for (const OpenCall& call : std::vector(state.open)) {
    if (call.custom())
      add("user.custom_tool_result", error_result("custom_tool_use_id", call.id, kInterrupted), "",
          call.id);
    else
      add("user.tool_result", error_result("tool_use_id", call.id, kInterrupted), "", call.id);
  }
  idle(R"({"type":"end_turn"})");
}

void Change::terminate() {
  add("session.thread_status_terminated", thread_members());
  add("session.status_terminated");
  tell("session.status_terminated");
  row.status = SessionStatus::terminated;
  stops_work_ = true;
}

void Change::settle() {
  if (state.phase == Phase::waiting && state.open.empty())
    continue_turn();
  else if (state.phase == Phase::waiting && state.open.size() != open_before_)
    wait_for_calls();
  if (state.phase == Phase::idle && state.has_next_turn()) start_turn();
}

Result<void> Change::commit(SessionStore& store, EventLog& log, WorkQueue& queue,
                            Announcer* announcer, bool is_new) {
  row.updated_at = now_us();
  auto work = [&]() -> Result<void> {
    TRY_DO(is_new ? store.add_session(row) : store.save_session(row), "save session ", row.id);
    if (!events.empty()) TRY_DO(store.append(row.id, events), "append to session ", row.id);
    for (auto [seq, at] : applied_) TRY_DO(store.set_processed(row.id, seq, at));
    if (wants_worker_) TRY_DO(queue.ensure_item(row.id, row.environment_id), "queue work");
    if (stops_work_) TRY_DO(queue.stop_items(row.id), "stop work");
    for (auto type : announcer ? news_ : decltype(news_)())
      TRY_DO(announcer->announce(type, row.id));
    return ok;
  };
  TRY_DO(store.atomically(work));
  if (!events.empty()) log.published(row.id);
  return ok;
}

}  // namespace glovebox::brain
