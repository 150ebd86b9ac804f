#include "gateway/steward_rules.h"

#include <algorithm>
#include <optional>

#include "gateway/steward_body.h"
#include "gateway/uplink_body.h"
#include "gateway/uplink_words.h"
#include "http/client.h"
#include "wire/sandbox.h"

namespace glovebox::gateway {

namespace {

using http::Request;

constexpr std::size_t kSmall = 4096, kBody = 64 * 1024, kGrant = 256 * 1024;

constexpr StewardRule kRules[] = {
    {Act::credential, Side::uplink, "GET", "/glovebox/v1/credential"},
    {Act::poll, Side::service, "GET", "/v1/environments/{environment}/work/poll"},
    {Act::acknowledge, Side::service, "POST", "/v1/environments/{environment}/work/{work}/ack",
     kSmall},
    {Act::heartbeat, Side::service, "POST", "/v1/environments/{environment}/work/{work}/heartbeat",
     kSmall},
    {Act::stop, Side::service, "POST", "/v1/environments/{environment}/work/{work}/stop", kSmall},
    {Act::session, Side::service, "GET", "/v1/sessions/{session}"},
    {Act::history, Side::service, "GET", "/v1/sessions/{session}/events"},
    {Act::stream, Side::service, "GET", "/v1/sessions/{session}/events/stream"},
    {Act::refuse, Side::service, "POST", "/v1/sessions/{session}/events", kBody},
    {Act::tell, Side::service, "POST", "/glovebox/v1/sessions/{session}/errors", kBody},
    {Act::grant, Side::uplink, "PUT", "/grants/{box}", kGrant},
    {Act::renew, Side::uplink, "POST", "/grants/{box}/renew", kSmall},
    {Act::revoke, Side::uplink, "DELETE", "/grants/{box}"},
    {Act::find, Side::engine, "GET", "/sandboxes/{box}"},
    {Act::create, Side::engine, "POST", "/sandboxes", kBody},
    {Act::make_volume, Side::engine, "POST", "/volumes", kSmall},
    {Act::remove_volume, Side::engine, "DELETE", "/volumes/{volume}"},
    {Act::remove, Side::engine, "DELETE", "/sandboxes/{box}"},
    {Act::resume, Side::engine, "POST", "/sandboxes/{box}/resume", kSmall},
    {Act::open, Side::engine, "POST", "/sandboxes/{box}/uplink", kSmall},
    {Act::processes, Side::engine, "GET", "/api/v1/processes"},
    {Act::start, Side::engine, "POST", "/api/v1/processes", kBody},
    {Act::process, Side::engine, "GET", "/api/v1/processes/{pid}"},
    {Act::signal, Side::engine, "POST", "/api/v1/processes/{pid}/signal", kSmall},
    {Act::follow, Side::engine, "GET", "/api/v1/processes/{pid}/output/follow"},
    {Act::awake, Side::uplink, "GET", "/awake"},
};

// One text for all that is not its own: whether it exists is not for a box to learn.
Error not_granted() { return {Code::not_found, "this sandbox was granted no such thing"}; }

// Of sessions and their volumes, too, but in another word: of what is gone boxes and records are
// removed, and these may only have been forgotten here.
Error not_known() { return {Code::forbidden, not_granted().what}; }

bool is_long_number(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// --- the service ---

std::vector<Argument> arguments_of(Act act) {
  if (act == Act::poll) return {{"block_ms", is_number}, {"reclaim_older_than_ms", is_long_number}};
  if (act == Act::heartbeat) return {{"expected_last_heartbeat", is_token}};
  if (act == Act::history) return {{"limit", is_number}, {"page", is_token}};
  return {};
}

// Of an item it was given.
Result<std::string> session_path(const StewardRecords& knows, Act act, const Request& request) {
  const std::string session = request.param("session");
  if (!plain_id(session) || !knows.item_of(session)) return not_known();
  if (act == Act::tell) return str("/glovebox/v1/sessions/", session, "/errors");
  const std::string path = "/v1/sessions/" + session;
  if (act == Act::session) return path;
  return path + (act == Act::stream ? "/events/stream" : "/events");
}

std::string_view verb_of(Act act) {
  return act == Act::acknowledge ? "/ack" : act == Act::stop ? "/stop" : "/heartbeat";
}

Result<std::string> service_path(const Stewardship& may, const StewardRecords& knows, Act act,
                                 const Request& request) {
  if (!request.param("session").empty()) return session_path(knows, act, request);
  if (may.environment.empty() || request.param("environment") != may.environment)
    return not_granted();
  const std::string queue = str("/v1/environments/", may.environment, "/work/");
  if (act == Act::poll) return queue + "poll";
  const std::string work = request.param("work");
  if (!plain_id(work) || !knows.item(work)) return not_granted();
  return str(queue, work, verb_of(act));
}

Result<Outgoing> to_service(const Stewardship& may, const StewardRecords& knows, Act act,
                            const Request& request) {
  Outgoing out{.method = request.method};
  TRY(path, service_path(may, knows, act, request));
  TRY(query, query_of(arguments_of(act), request.query));
  if (act == Act::stop || act == Act::refuse || act == Act::tell) {
    TRY(body, act == Act::stop     ? rewrite_stop(request.body)
              : act == Act::refuse ? rewrite_refusals(request.body)
                                   : rewrite_reason(request.body));
    out.body = std::move(body);
  } else if (!request.body.empty() && trim(request.body) != "{}") {
    return Error{Code::invalid, "this takes no body"};
  }
  out.target = path + query;
  const bool queue = act == Act::poll || act == Act::acknowledge;
  out.headers = service_headers(
      may.headers, request, {.beta = kAgentsBeta, .helper = queue ? kPollerHelper : kWorkerHelper},
      !out.body.empty());
  if (auto worker = request.headers.get("Anthropic-Worker-ID");
      act == Act::poll && worker && worker->size() <= 128 && is_token(*worker))
    out.headers.set("Anthropic-Worker-ID", std::string(*worker));
  return out;
}

// --- the engine ---

// Where there is none by that name yet it may look; what it finds is judged by the records.
Result<std::string> box_path(const StewardRecords& knows, Act act, const Request& request) {
  const std::string box = request.param("box");
  if (!knows.has_box(box) && !(act == Act::find && is_session_box(box))) return not_granted();
  return "/sandboxes/" + http::encode_path(box);
}

Result<std::string> engine_path(const Stewardship& may, const StewardRecords& knows, Act act,
                                const Request& request) {
  switch (act) {
    case Act::find:
    case Act::remove: return box_path(knows, act, request);
    case Act::resume: {
      TRY(path, box_path(knows, act, request));
      return path + "/resume";
    }
    case Act::open: {
      TRY(path, box_path(knows, act, request));
      return path + "/uplink";
    }
    case Act::create: return std::string("/sandboxes");
    case Act::make_volume: return std::string("/volumes");
    case Act::remove_volume: {
      const std::string volume = request.param("volume");
      if (!may.volumes_go || !is_volume_of_session(knows, volume)) return not_known();
      return "/volumes/" + volume;
    }
    case Act::processes:
    case Act::start: return std::string("/api/v1/processes");
    case Act::process:
    case Act::signal:
    case Act::follow: {
      const std::string pid = request.param("pid");
      if (!is_long_number(pid)) return not_granted();
      return str("/api/v1/processes/", pid,
                 act == Act::signal   ? "/signal"
                 : act == Act::follow ? "/output/follow"
                                      : "");
    }
    case Act::credential:
    case Act::poll:
    case Act::acknowledge:
    case Act::heartbeat:
    case Act::stop:
    case Act::session:
    case Act::history:
    case Act::stream:
    case Act::refuse:
    case Act::tell:
    case Act::grant:
    case Act::renew:
    case Act::revoke:
    case Act::awake: return not_granted();
  }
  return not_granted();
}

Result<std::string> engine_body(const Stewardship& may, const StewardRecords& knows, Act act,
                                const Request& request) {
  if (act == Act::create) return rewrite_new_box(may, knows, request.body);
  if (act == Act::make_volume) return rewrite_new_volume(knows, request.body);
  if (act == Act::open) return rewrite_open(request.body);
  if (act == Act::start) return rewrite_worker(may, knows, request.body);
  if (act == Act::signal) return rewrite_signal(request.body);
  if (trim(request.body).empty()) return std::string();
  return Error{Code::invalid, "this takes no body"};
}

bool is_inside_a_box(Act act) {
  return act == Act::processes || act == Act::start || act == Act::process || act == Act::signal ||
         act == Act::follow;
}

Result<Outgoing> to_engine(const Stewardship& may, const StewardRecords& knows, Act act,
                           const Request& request) {
  if (!request.query.empty()) return Error{Code::invalid, "an argument that is not passed on"};
  Outgoing out{.method = request.method};
  TRY(path, engine_path(may, knows, act, request));
  out.target = std::move(path);
  if (is_inside_a_box(act)) {
    const std::string box(request.headers.get("X-Tensorlake-Sandbox-Id").value_or(""));
    if (!knows.has_box(box)) return not_granted();
    out.headers.set("X-Tensorlake-Sandbox-Id", box);
  }
  TRY(body, engine_body(may, knows, act, request));
  out.body = std::move(body);
  if (!out.body.empty()) out.headers.set("Content-Type", "application/json");
  if (act == Act::follow) out.headers.set("Accept", "text/event-stream");
  return out;
}

const StewardRule& rule_of(Act act) { return *std::ranges::find(kRules, act, &StewardRule::act); }

}  // namespace

std::span<const StewardRule> steward_rules() { return kRules; }

bool is_session_box(std::string_view name) {
  return name.starts_with(kSessionBoxes) && wire::valid_name(name);
}

Result<Outgoing> steward_request(const Stewardship& may, const StewardRecords& knows, Act act,
                                 const Request& request) {
  const StewardRule& rule = rule_of(act);
  // The router takes HEAD for GET.
  if (request.method != rule.method) return not_granted();
  return rule.side == Side::service ? to_service(may, knows, act, request)
                                    : to_engine(may, knows, act, request);
}

Result<GrantOf> steward_grant(const StewardRecords& knows, Act act, const Request& request) {
  GrantOf of{.box = request.param("box")};
  if (act == Act::revoke) {
    of.work = request.query_value("work_id").value_or("");
  } else {
    TRY(work, work_in(request.body));
    of.work = std::move(work);
  }
  const StewardRecords::Item* item = knows.item(of.work);
  if (!knows.has_box(of.box) || !item || item->session.empty()) return not_granted();
  return of;
}

}  // namespace glovebox::gateway
