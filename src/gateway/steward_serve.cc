// One request of a steward: read, judged, asked anew, its answer passed back.
#include <boost/json.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/redactor.h"
#include "gateway/steward_impl.h"
#include "net/task.h"
#include "wire/agents.h"
#include "wire/sandbox.h"

namespace glovebox::gateway {

namespace {

metrics::Counter requests("uplink_steward_requests_total",
                          "Requests of stewards that were passed on.");
metrics::Counter refused("uplink_steward_refused_total", "Requests of stewards that were not.");

using http::Request;
using http::Response;
using StewardPtr = std::shared_ptr<Steward>;

// An item that was taken while it slept goes back to the queue by itself after some seconds.
constexpr Millis kInHand = 5s;
constexpr std::size_t kEvent = 40 << 20;  // of one event on a session's stream

struct Call {
  std::shared_ptr<Uplink::Impl> impl;
  StewardPtr steward;
  std::string box;  // its own
  const StewardRule* rule;
  Request request;
};
using CallPtr = std::shared_ptr<Call>;

Response passed(http::ClientResponse answer) {
  Response response;
  response.status = answer.status;
  for (auto name :
       {"Content-Type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"})
    if (auto value = answer.headers.get(name)) response.headers.set(name, std::string(*value));
  response.headers.set("Cache-Control", "no-store");
  response.body = std::move(answer.body);
  return response;
}

Task<http::ClientResponse> ask_for(CallPtr call) {
  const Steward& steward = *call->steward;
  CO_TRY(out, steward_request(steward.may, steward.records, call->rule->act, call->request));
  co_return co_await ask(call->steward, call->rule->side, std::move(out));
}

// --- the queue ---

Task<Response> credential(CallPtr call) {
  const Steward& steward = *call->steward;
  if (steward.may.environment.empty())
    co_return Error{Code::unavailable, "the environment is not known yet"};
  if (!steward.is_ours) co_return Error{Code::not_found, "there is no such thing"};
  co_return http::json(200, str(R"({"kind":"environment","environment_id":")",
                                json_escape(steward.may.environment), "\"}"));
}

Task<Response> poll(CallPtr call) {
  Steward& steward = *call->steward;
  // Judged all the same.
  CO_TRY_DO(steward_request(steward.may, steward.records, Act::poll, call->request));
  if (auto kept = std::exchange(steward.in_hand, std::nullopt);
      kept && Steady::now() - steward.in_hand_since < kInHand)
    co_return http::json(200, kept->json);
  std::optional<Offered> offered;
  CO_TRY(answer, co_await poll_queue(call->steward, std::move(call->request), &offered));
  co_return passed(std::move(answer));
}

// An answer of which it hears a part.
Task<Response> seen(CallPtr call, Result<std::string> (*part)(std::string_view)) {
  CO_TRY(answer, co_await ask_for(call));
  if (answer.status / 100 == 2) {
    CO_TRY(body, part(answer.body));
    answer.body = std::move(body);
  }
  co_return passed(std::move(answer));
}

Task<Response> plain(CallPtr call) {
  CO_TRY(answer, co_await ask_for(call));
  co_return passed(std::move(answer));
}

// --- the grant of a worker in a box it made ---

Response status_of(const Uplink::Status& now) {
  return http::json(200, str(R"({"listening":)", now.listening ? "true" : "false", '}'));
}

// What goes with a session is asked from the service; what a box says of it is not believed.
Task<Grant> make_grant(StewardPtr steward, std::string work) {
  const StewardRecords::Item item = *steward->records.item(work);
  Request about{.method = "GET", .params = {{"session", item.session}}};
  CO_TRY(out, steward_request(steward->may, steward->records, Act::session, about));
  CO_TRY(answer, co_await ask(steward, Side::service, std::move(out)));
  if (answer.status / 100 != 2)
    co_return Error{answer.status == 404 ? Code::not_found : Code::unavailable,
                    str("the service answered ", answer.status, " for the session")};
  boost::json::parse_options deep;
  deep.max_depth = 1000;
  boost::system::error_code wrong;
  boost::json::value session = boost::json::parse(answer.body, wrong, {}, deep);
  if (wrong) co_return Error{Code::unavailable, "the service's answer is no JSON"};
  Grant grant{.environment = steward->may.environment,
              .work = std::move(work),
              .session = item.session,
              .service_url = steward->options.service_url,
              .headers = steward->may.headers,
              .credential = item.token.empty() ? *steward->keys.environment : item.token};
  for (wire::SkillRef& skill : wire::skills_of(session))
    if (plain_id(skill.id)) grant.skills.push_back(std::move(skill.id));
  for (wire::MemoryStore& store : wire::memory_stores_of(session))
    if (plain_id(store.id)) grant.stores.push_back({std::move(store.id), store.read_only});
  co_return grant;
}

Task<Response> grant(CallPtr call) {
  CO_TRY(of, steward_grant(call->steward->records, Act::grant, call->request));
  CO_TRY(made, co_await make_grant(call->steward, of.work));
  CO_TRY_DO(call->steward->records.granted(of.box, of.work));
  CO_TRY_DO(grant_box(*call->impl, of.box, std::move(made)));
  CO_TRY(now, renew_box(*call->impl, of.box, of.work));
  co_return status_of(now);
}

Task<Response> renew(CallPtr call) {
  CO_TRY(of, steward_grant(call->steward->records, Act::renew, call->request));
  auto now = renew_box(*call->impl, of.box, of.work);
  // That there is none yet is an answer, and no refusal.
  co_return now ? status_of(*now) : http::error_response(now.error());
}

Task<Response> revoke(CallPtr call) {
  CO_TRY(of, steward_grant(call->steward->records, Act::revoke, call->request));
  revoke_box(*call->impl, of.box, of.work);
  co_return http::empty(204);
}

// --- boxes ---

bool is_gone(const http::ClientResponse& answer) {
  return (answer.status == 404 || answer.status == 410) &&
         (answer.body.contains("\"SANDBOX_NOT_FOUND\"") ||
          answer.body.contains("\"SANDBOX_TERMINATED\""));
}

std::string short_record(std::string_view id_key, const wire::SandboxRecord& record) {
  return boost::json::serialize(boost::json::object{{id_key, record.id},
                                                    {"name", record.name},
                                                    {"status", name(record.status)},
                                                    {"last_activity_at", record.last_activity_at}});
}

Task<Response> find(CallPtr call) {
  StewardRecords& records = call->steward->records;
  const std::string asked = call->request.param("box");
  CO_TRY(answer, co_await ask_for(call));
  if (is_gone(answer)) CO_TRY_DO(records.lost(asked));
  if (answer.status / 100 != 2) co_return passed(std::move(answer));
  CO_TRY(record, wire::decode_record(answer.body), "the engine's record");
  if (record.status == wire::State::terminated) {
    CO_TRY_DO(records.lost(asked));
    co_return Error{Code::not_found, "there is no such sandbox", "SANDBOX_NOT_FOUND"};
  }
  CO_TRY(is_own, records.recognise(record.name, record.id, record.created_at));
  if (!is_own)
    // What its session's calls are then answered with: waiting would not change it.
    co_return Error{Code::forbidden,
                    str("a sandbox named ", asked,
                        " is there, and was not made from here: glovebox sandbox rm ", asked)};
  co_return http::json(200, short_record("id", record));
}

Task<Response> create(CallPtr call) {
  Steward& steward = *call->steward;
  CO_TRY(out, steward_request(steward.may, steward.records, Act::create, call->request));
  CO_TRY(wanted, wire::decode_create(out.body));
  CO_TRY(is_first, steward.records.will_make(wanted.name, system_clock().unix_ms()));
  CO_FAULT("steward.before_create");
  CO_TRY(answer, co_await ask(call->steward, Side::engine, std::move(out)));
  CO_FAULT("steward.after_create");
  // Refused, it made nothing, and what lives by that name is another's, now and later; unless the
  // answer to an earlier attempt was lost: then find() will tell.
  if (answer.status / 100 == 4 && is_first) CO_TRY_DO(steward.records.not_made(wanted.name));
  if (answer.status / 100 != 2) co_return passed(std::move(answer));
  CO_TRY(record, wire::decode_record(answer.body), "the engine's record");
  CO_TRY_DO(steward.records.made(wanted.name, record.id));
  log::info("steward.box", {{"box", record.id}, {"name", wanted.name}});
  co_return http::json(200, short_record("sandbox_id", record));
}

Task<Response> remove(CallPtr call) {
  const std::string box = call->request.param("box");
  CO_TRY(answer, co_await ask_for(call));
  if (answer.status / 100 == 2 || is_gone(answer)) CO_TRY_DO(call->steward->records.lost(box));
  co_return passed(std::move(answer));
}

using Pass = Task<void> (*)(std::shared_ptr<http::StreamResponse>, http::BodyWriter&);

Task<void> pass_pieces(std::shared_ptr<http::StreamResponse> answer, http::BodyWriter& out) {
  for (;;) {
    CO_TRY(piece, co_await answer->body->read());
    if (piece.empty()) co_return ok;
    CO_TRY_DO(co_await out.write(std::move(piece)));
  }
}

// Of what is only to be held open, a sign of life for each piece.
Task<void> pass_signs(std::shared_ptr<http::StreamResponse> answer, http::BodyWriter& out) {
  for (;;) {
    CO_TRY(piece, co_await answer->body->read());
    if (piece.empty()) co_return ok;
    CO_TRY_DO(co_await out.write("\n"));
  }
}

Task<void> pass_events(std::shared_ptr<http::StreamResponse> answer, http::BodyWriter& out) {
  http::SseReader events(*answer->body, kEvent);
  for (;;) {
    CO_TRY(event, co_await events.next());
    if (!event) co_return ok;
    const bool is_ping = event->event == "ping";
    std::string data = is_ping ? "{}" : event_for_steward(event->data);
    CO_TRY_DO(co_await out.write(
        http::encode({.event = is_ping ? "ping" : "message", .data = std::move(data)})));
  }
}

Task<Response> stream_of(StewardPtr steward, Side side, Outgoing out, Pass pass) {
  CO_TRY(opened, co_await open(std::move(steward), side, std::move(out)));
  auto answer = std::make_shared<http::StreamResponse>(std::move(opened));
  if (answer->status != 200)
    co_return Error{answer->status == 404 ? Code::not_found : Code::unavailable,
                    str("the answer was ", answer->status)};
  Response response;
  response.headers.set("Content-Type", pass == pass_signs ? "text/plain" : "text/event-stream");
  response.headers.set("Cache-Control", "no-store");
  response.stream = [answer, pass](http::BodyWriter& writer) { return pass(answer, writer); };
  co_return response;
}

Task<Response> stream(CallPtr call) {
  CO_TRY(out,
         steward_request(call->steward->may, call->steward->records, Act::stream, call->request));
  co_return co_await stream_of(call->steward, Side::service, std::move(out), pass_events);
}

Task<Response> follow(CallPtr call) {
  CO_TRY(out,
         steward_request(call->steward->may, call->steward->records, Act::follow, call->request));
  co_return co_await stream_of(call->steward, Side::engine, std::move(out), pass_pieces);
}

// To the engine, whoever reads the output of one of its processes uses the box.
Task<Response> awake(CallPtr call) {
  Outgoing out{.method = "GET",
               .target = str("/api/v1/processes/", http::encode_path(call->steward->options.name),
                             "/output/follow")};
  out.headers.set("X-Tensorlake-Sandbox-Id", call->box);
  co_return co_await stream_of(call->steward, Side::engine, std::move(out), pass_signs);
}

Task<Response> answer_to(CallPtr call) {
  switch (call->rule->act) {
    case Act::credential: return credential(std::move(call));
    case Act::poll: return poll(std::move(call));
    case Act::session: return seen(std::move(call), session_for_steward);
    case Act::history: return seen(std::move(call), history_for_steward);
    case Act::stream: return stream(std::move(call));
    case Act::grant: return grant(std::move(call));
    case Act::renew: return renew(std::move(call));
    case Act::revoke: return revoke(std::move(call));
    case Act::find: return find(std::move(call));
    case Act::create: return create(std::move(call));
    case Act::remove: return remove(std::move(call));
    case Act::follow: return follow(std::move(call));
    case Act::awake: return awake(std::move(call));
    case Act::acknowledge:
    case Act::heartbeat:
    case Act::stop:
    case Act::refuse:
    case Act::tell:
    case Act::remove_volume:
    case Act::make_volume:
    case Act::resume:
    case Act::open:
    case Act::processes:
    case Act::start:
    case Act::process:
    case Act::signal: return plain(std::move(call));
  }
  return plain(std::move(call));
}

void tell_refusal(Steward& steward, const Call& call, const Error& error) {
  refused.add();
  ++steward.refused;
  if (!steward.refusals.take()) return;  // a box must not fill the log
  log::warn("steward.refused", {{"box", call.box},
                                {"method", call.request.method.substr(0, 16)},
                                {"path", call.request.path.substr(0, 200)},
                                {"why", error.what},
                                {"so_far", steward.refused}});
}

Task<Response> serve(std::weak_ptr<Uplink::Impl> weak, std::string box, const StewardRule* rule,
                     Request request) {
  auto impl = weak.lock();
  if (!impl || impl->closing) co_return Error{Code::unavailable, "the uplink stops"};
  StewardPtr steward = impl->steward;
  if (!steward->pace.take()) co_return Error{Code::exhausted, "too many requests"};
  if (request.method != rule->method) co_return Error{Code::not_found, "there is no such thing"};
  Request about{.method = request.method, .path = request.path};
  auto call = std::make_shared<Call>(
      Call{std::move(impl), steward, std::move(box), rule, std::move(request)});
  auto answer = co_await answer_to(call);
  if (answer) requests.add();
  call->request = std::move(about);
  if (!answer && answer.error().code != Code::cancelled)
    tell_refusal(*steward, *call, answer.error());
  co_return answer;
}

// What is not on the list does not exist, in any method.
void dress(Response& response, std::string_view) {
  if (!response.error || response.status != 405) return;
  response.status = 404;
  response.headers.remove("Allow");
}

}  // namespace

std::unique_ptr<http::Server> serve_steward(const std::shared_ptr<Uplink::Impl>& impl,
                                            const std::shared_ptr<DoorLink>& door) {
  std::vector<http::Route> routes;
  for (const StewardRule& rule : steward_rules()) {
    http::Route route{.method = std::string(rule.method), .pattern = std::string(rule.pattern)};
    route.body = rule.body_limit ? http::Body::whole : http::Body::none;
    route.body_limit = rule.body_limit;
    // The others may be half way through a change.
    route.cancel_on_disconnect =
        rule.act == Act::follow || rule.act == Act::awake || rule.act == Act::stream;
    route.handler = [impl = std::weak_ptr(impl), box = door->box, rule = &rule](Request request) {
      return serve(impl, box, rule, std::move(request));
    };
    routes.push_back(std::move(route));
  }
  http::ServerOptions options = server_options(impl->limits);
  options.max_connections = impl->steward->options.connections;
  options.dress = dress;
  return std::make_unique<http::Server>(impl->loop, std::move(routes), std::move(options));
}

}  // namespace glovebox::gateway
