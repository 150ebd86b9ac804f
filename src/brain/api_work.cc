#include "brain/api.h"
#include "brain/api_body.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::int64_t kMaxBlockMs = 999;
constexpr std::int64_t kMaxReclaimMs = 86'400'000;

// Every member is there: strict decoders exist. The secret only in the answer to a poll.
std::string work_json(const WorkRow& row, std::string_view secret = "") {
  return str(R"({"id":")", row.id, R"(","type":"work","environment_id":")", row.environment_id,
             R"(","data":{"type":"session","id":")", row.session_id, R"("},"state":")", row.state,
             R"(","metadata":)", row.metadata, R"(,"secret":)",
             secret.empty() ? "null" : text_json(secret), R"(,"created_at":)",
             time_json(row.created_at), R"(,"acknowledged_at":)", time_json(row.acknowledged_at),
             R"(,"started_at":)", time_json(row.started_at), R"(,"latest_heartbeat_at":)",
             time_json(row.latest_heartbeat_at), R"(,"stop_requested_at":)",
             time_json(row.stop_requested_at), R"(,"stopped_at":)", time_json(row.stopped_at), '}');
}

std::string render_work(const WorkRow& row) { return work_json(row); }

std::string last_heartbeat(const WorkRow& row) {
  return row.latest_heartbeat_at ? rfc3339(row.latest_heartbeat_at) : "";
}

// The item of the path, if it is in the environment of the path and the caller's to see.
Result<WorkRow> work_of(const Call& call) {
  TRY_DO(environment_of(call));
  const std::string id = call.param("work");
  const Error none{Code::not_found, str("there is no work item ", id)};
  if (call.who.kind == Who::session && call.who.work_id != id) return none;
  TRY(row, call.api.store.work(id));
  if (row.environment_id != call.param("env")) return none;
  return row;
}

Queue::Caller caller_of(const Call& call) {
  Queue::Caller caller{.by = call.who.id};
  if (call.who.kind == Who::session) caller.delivery = call.who.delivery;
  auto retries = parse_int<int>(call.request.headers.get("X-Stainless-Retry-Count").value_or("0"));
  caller.repeats = retries.value_or(0) > 0;
  return caller;
}

std::string worker_of(const Call& call) {
  return std::string(call.request.headers.get("Anthropic-Worker-ID").value_or("").substr(0, 256));
}

http::Response refused_beat(const Call& call, const Queue::Beat& beat) {
  const WorkRow& row = beat.work;
  std::string last = last_heartbeat(row);
  std::string details =
      str(R"({"error_code":"heartbeat_precondition_failed","current_state":{"state":")", row.state,
          R"(","last_heartbeat":)", last.empty() ? "null" : text_json(last),
          R"(,"lease_extended":false,"ttl_seconds":)", row.ttl_secs, "}}");
  return http::json(412, error_json(412, "the lease is not held by this worker", details,
                                    call.request.request_id));
}

}  // namespace

Reply poll_work(Call call) {
  CO_TRY(environment, environment_of(call));
  CO_TRY(block, call.query.integer("block_ms", 1, kMaxBlockMs));
  CO_TRY(reclaim, call.query.integer("reclaim_older_than_ms", 0, kMaxReclaimMs));
  Queue::Poll poll{.environment = environment.id, .worker = worker_of(call)};
  if (block) poll.block = Millis(*block);
  if (reclaim) poll.reclaim = Millis(*reclaim);
  CO_TRY(delivery, co_await call.api.queue.poll(std::move(poll)));
  // An empty body or 204 would break one client or another; null they all understand.
  if (!delivery) co_return http::json(200, "null");
  std::string secret = base64url(str(R"({"sessions_token":")", delivery->token.reveal(), R"("})"));
  co_return http::json(200, work_json(delivery->work, secret));
}

Reply work_stats(Call call) {
  CO_TRY(environment, environment_of(call));
  CO_TRY(stats, call.api.store.queue_stats(environment.id));
  auto workers = call.api.queue.workers_polling(environment.id);
  co_return http::json(
      200, str(R"({"type":"work_queue_stats","depth":)", stats.depth, R"(,"pending":)",
               stats.pending, R"(,"oldest_queued_at":)", time_json(stats.oldest_queued_at),
               R"(,"workers_polling":)", workers ? str(*workers) : "null", '}'));
}

Reply list_work(Call call) {
  CO_TRY(environment, environment_of(call));
  const std::string filters = "work " + environment.id;
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows, call.api.store.works(environment.id,
                                    {.from = page.cursor.number, .limit = page.limit + 1}));
  co_return page_json(std::move(rows), page, filters, render_work);
}

Reply get_work(Call call) {
  CO_TRY(row, work_of(call));
  co_return http::json(200, work_json(row));
}

Reply update_work(Call call) {
  CO_TRY(row, work_of(call));
  CO_TRY(parsed, body_of(call.request));
  const json::value whole(std::move(parsed));
  CO_TRY(body, wire::Members::of(whole));
  CO_TRY(metadata, patch_metadata(body, std::string_view(row.metadata)));
  body.done();
  row.metadata = json::serialize(metadata);
  CO_TRY_DO(call.api.store.save_work(row));
  co_return http::json(200, work_json(row));
}

Reply ack_work(Call call) {
  CO_TRY(row, work_of(call));
  CO_TRY(acked, call.api.queue.ack(row.id, caller_of(call), worker_of(call)));
  co_return http::json(200, work_json(acked));
}

Reply heartbeat_work(Call call) {
  CO_TRY(row, work_of(call));
  CO_TRY(ttl, call.query.integer("desired_ttl_seconds", 1, kMaxReclaimMs));
  CO_TRY(beat, call.api.queue.heartbeat(row.id, call.query.raw("expected_last_heartbeat"), ttl,
                                        caller_of(call)));
  if (beat.refused) co_return refused_beat(call, beat);
  co_return http::json(
      200, str(R"({"type":"work_heartbeat","last_heartbeat":")", last_heartbeat(beat.work),
               R"(","lease_extended":)", beat.extended, R"(,"state":")", beat.work.state,
               R"(","ttl_seconds":)", beat.work.ttl_secs, '}'));
}

Reply stop_work(Call call) {
  CO_TRY(row, work_of(call));
  CO_TRY(parsed, body_of(call.request));
  const json::value whole(std::move(parsed));
  CO_TRY(body, wire::Members::of(whole));
  CO_TRY(force, body.flag("force"));
  body.done();
  CO_TRY(stopped, call.api.queue.stop(row.id, force.value_or(false), caller_of(call)));
  co_return http::json(200, work_json(stopped));
}

}  // namespace glovebox::brain
