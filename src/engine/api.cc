#include "engine/api.h"

#include "base/log.h"
#include "engine/api_routing.h"
#include "engine/api_state.h"
#include "engine/api_templates.h"
#include "engine/api_trees.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Body;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kSmall = 64 * 1024;
constexpr std::size_t kStart = 1 << 20;
constexpr std::size_t kToolInput = 8 << 20;
constexpr std::size_t kPlaced = 64 << 20;  // a file of a skill, which may be all of it
struct Row {
  std::string_view method, pattern;
  Reply (*handler)(ApiState&, Request);
  Body body = Body::none;
  std::size_t limit = 0;
  bool cancel_on_disconnect = false;
};

// Served below "" and below "/v1/namespaces/{ns}". Where a row has no body of interest but clients
// send one, it is read.
constexpr Row kLifecycle[] = {
    {"POST", "/sandboxes", create_sandbox, Body::whole, kStart},
    {"GET", "/sandboxes", list_sandboxes},
    {"GET", "/sandboxes/{sbx}", get_sandbox},
    {"PATCH", "/sandboxes/{sbx}", update_sandbox, Body::whole, kStart},
    {"DELETE", "/sandboxes/{sbx}", delete_sandbox},
    {"POST", "/sandboxes/{sbx}/suspend", suspend_sandbox, Body::whole, kSmall},
    {"POST", "/sandboxes/{sbx}/resume", resume_sandbox, Body::whole, kSmall},
    {"POST", "/sandboxes/{sbx}/snapshot", take_snapshot, Body::whole, kSmall},
    {"POST", "/sandboxes/{sbx}/copy", copy_sandbox, Body::whole, kSmall},
    {"POST", "/sandboxes/{sbx}/rollback", rollback_sandbox, Body::whole, kSmall},
    {"POST", "/sandboxes/{sbx}/file_systems", attach_volume, Body::whole, kSmall},
    {"DELETE", "/sandboxes/{sbx}/file_systems", detach_volume, Body::whole, kSmall},
    {"GET", "/sandboxes/{sbx}/logs", sandbox_logs},
    {"GET", "/sandboxes/{sbx}/processes", sandbox_log_processes},
    {"POST", "/sandboxes/{sbx}/uplink", open_uplink, Body::whole, kSmall},                  // ours
    {"POST", "/sandboxes/{sbx}/ports/{port}/token", make_port_token, Body::whole, kSmall},  // ours
    {"GET", "/sandboxes/{sbx}/ports", list_ports},                                          // ours
    {"PUT", "/sandboxes/{sbx}/ports/{port}", set_port, Body::whole, kSmall},                // ours
    {"GET", "/archived-sandboxes", list_archived},
    {"GET", "/archived-sandboxes/{id}", get_archived},
    {"GET", "/images", list_images},
    {"POST", "/images", import_image, Body::stream, 0, true},
    {"POST", "/images/prune", prune_images, Body::whole, kSmall},
    {"POST", "/images/pull", pull_image, Body::whole, kSmall},
    {"POST", "/images/contexts", put_context, Body::stream, 0, true},
    {"POST", "/images/builds", build_image, Body::whole, kStart},
    {"POST", "/images/debian", make_debian, Body::whole, kStart},
    {"GET", "/images/{image}", get_image},
    {"DELETE", "/images/{image}", remove_image},
    {"DELETE", "/sandbox-images/{image}", remove_image},  // the SDK's name for it
    {"GET", "/volumes", list_volumes},
    {"POST", "/volumes", create_volume, Body::whole, kSmall},
    {"GET", "/volumes/{volume}", get_volume},
    {"DELETE", "/volumes/{volume}", remove_volume},
    {"GET", "/snapshots", list_snapshots},
    {"GET", "/snapshots/{id}", get_snapshot},
    {"DELETE", "/snapshots/{id}", delete_snapshot},
    {"GET", "/snapshots/{id}/export", export_snapshot},                     // ours
    {"POST", "/snapshots/import", import_snapshot, Body::stream, 0, true},  // ours
    {"GET", "/sandbox-pools", list_pools},
    {"POST", "/sandbox-pools", create_pool, Body::whole, kStart},
    {"GET", "/sandbox-pools/{id}", get_pool},
    {"PUT", "/sandbox-pools/{id}", update_pool, Body::whole, kStart},
    {"DELETE", "/sandbox-pools/{id}", delete_pool},
    {"POST", "/sandbox-pools/{id}/sandboxes", claim_from_pool, Body::whole, kStart},
};

constexpr Row kOther[] = {
    {"GET", "/healthz", healthz},
    {"GET", "/metrics", metrics_page},
    {"GET", "/glovebox/v1/usage", usage_of_all},
    {"POST", "/platform/v1/keys/introspect", introspect_key, Body::whole, kSmall},
    {"GET", "/platform/v1/organizations/{o}/projects/{p}", get_project},
    {"GET", "/platform/v1/secrets", list_secrets},
    {"PUT", "/platform/v1/secrets", no_secrets, Body::whole, kSmall},
    {"GET", "/platform/v1/organizations/{o}/projects/{p}/secrets", list_secrets},
    {"PUT", "/platform/v1/organizations/{o}/projects/{p}/secrets", no_secrets, Body::whole, kSmall},
    {"GET", "/platform/v1/organizations/{org}/projects/{project}/file-systems", list_file_systems},
    {"POST", "/platform/v1/organizations/{org}/projects/{project}/file-systems", create_volume,
     Body::whole, kSmall},
    {"GET", "/platform/v1/organizations/{org}/projects/{project}/file-systems/{volume}",
     get_volume},
    {"DELETE", "/platform/v1/organizations/{org}/projects/{project}/file-systems/{volume}",
     remove_volume},
    {"POST", "/platform/v1/sandbox-templates", comes_later, Body::whole, kStart},
    {"POST", "/platform/v1/organizations/{org}/projects/{project}/sandbox-templates", comes_later,
     Body::whole, kStart},
};

// Below "/s/{sbx}/api/v1"; rewrite() leads the other two ways of naming a sandbox here.
constexpr Row kDataPlane[] = {
    {"GET", "/health", box_health},
    {"GET", "/info", box_info},
    {"POST", "/processes", start_process, Body::whole, kStart},
    {"GET", "/processes", list_processes},
    {"POST", "/processes/run", run_process, Body::whole, kStart},
    {"GET", "/processes/{p}", get_process},
    {"DELETE", "/processes/{p}", kill_process},
    {"POST", "/processes/{p}/restart", restart_process, Body::whole, kSmall},
    {"POST", "/processes/{p}/signal", signal_process, Body::whole, kSmall},
    {"POST", "/processes/{p}/stdin", write_stdin, Body::stream, 0, true},
    {"POST", "/processes/{p}/stdin/close", close_stdin, Body::whole, kSmall},
    {"GET", "/processes/{p}/stdout", get_output},
    {"GET", "/processes/{p}/stderr", get_output},
    {"GET", "/processes/{p}/output", get_output},
    {"GET", "/processes/{p}/stdout/follow", follow_output},
    {"GET", "/processes/{p}/stderr/follow", follow_output},
    {"GET", "/processes/{p}/output/follow", follow_output},
    {"GET", "/files", read_file},
    {"PUT", "/files", write_file, Body::stream, 0, true},
    {"DELETE", "/files", delete_file},
    {"GET", "/files/list", list_files},
    {"POST", "/pty", create_pty, Body::whole, kStart},
    {"GET", "/pty", list_ptys},
    {"GET", "/pty/{id}", get_pty},
    {"DELETE", "/pty/{id}", delete_pty},
    {"POST", "/pty/{id}/resize", resize_pty, Body::whole, kSmall},
    {"GET", "/pty/{id}/ws", pty_socket},
    {"GET", "/tunnels/tcp", tunnel_socket},
    {"GET", "/ssh/status", comes_later},
    {"POST", "/ssh/enable", comes_later, Body::whole, kSmall},
    {"POST", "/ssh/disable", comes_later, Body::whole, kSmall},
    {"POST", "/blob/sign", comes_later, Body::whole, kSmall},
    // Ours.
    {"GET", "/exec/ws", exec_socket},
    {"GET", "/trees", list_tree},
    {"POST", "/trees", make_tree, Body::whole, kSmall},
    {"PUT", "/trees", place_file, Body::whole, kPlaced},
    {"DELETE", "/trees", remove_tree},
    {"POST", "/tools/{tool}", call_tool, Body::whole, kToolInput, true},
    {"DELETE", "/tools/calls/{key}", end_tool_call},
};

// A sandbox that is deleted takes the requests that are under way in it along. Which way each of
// them broke is nobody's business: the answer is the one that whoever comes a moment later gets.
Reply overtaken(ApiState& api, Task<Response> answer, std::string sandbox) {
  auto answered = co_await std::move(answer);
  if (answered) co_return answered;
  // (Within a sandbox it may be its own disk that is full.)
  if (sandbox.empty()) co_return said_of_disk(std::move(answered.error()));
  const Error& error = answered.error();
  if (error.code != Code::unavailable && error.code != Code::internal) co_return answered;
  auto record = api.engine.get(sandbox);
  if (!record && record.error().code == Code::not_found)
    co_return Error{Code::gone, str("sandbox ", sandbox, " was deleted meanwhile"),
                    "SANDBOX_TERMINATED"};
  if (record && record->status == wire::State::terminated)
    co_return Error{Code::gone,
                    str("sandbox ", record->id, " was terminated meanwhile (", error.what, ")"),
                    "SANDBOX_TERMINATED"};
  co_return answered;
}

http::Route route(ApiState& api, std::string_view prefix, const Row& row) {
  http::Route route;
  route.method = row.method;
  route.pattern = str(prefix, row.pattern);
  route.body = row.body;
  route.body_limit = row.limit;
  route.cancel_on_disconnect = row.cancel_on_disconnect;
  route.handler = [&api, handler = row.handler](Request request) {
    std::string sandbox = request.param("sbx");
    return overtaken(api, handler(api, std::move(request)), std::move(sandbox));
  };
  return route;
}

}  // namespace

Api::Api(net::Loop& loop, Engine& engine, ApiKeys keys)
    : state_(new ApiState{loop, engine, std::move(keys), net::TaskGroup(loop), {}, {}}) {}
Api::~Api() = default;
void Api::set_keys(ApiKeys keys) { state_->keys = std::move(keys); }
Task<void> Api::close(Millis limit) { return state_->tasks.finish(limit); }

std::vector<http::Route> Api::routes() {
  std::vector<http::Route> routes;
  for (std::string_view prefix : {"", "/v1/namespaces/{ns}"})
    for (const Row& row : kLifecycle) routes.push_back(route(*state_, prefix, row));
  for (const Row& row : kOther) routes.push_back(route(*state_, "", row));
  for (const Row& row : kDataPlane) routes.push_back(route(*state_, "/s/{sbx}/api/v1", row));
  for (auto& made : template_routes(*state_)) routes.push_back(std::move(made));
  return routes;
}

http::ServerOptions Api::server_options() {
  http::ServerOptions options;
  options.allowed_hosts = {"localhost", "127.0.0.1", "127.0.0.2", "[::1]", ".local"};
  options.rewrite = name_sandbox_in_path;
  options.guard = [state = state_.get()](const Request& request) -> Result<void> {
    if (is_pty_socket(request) && is_pty_token(*state, request)) return ok;
    return check_key(state->keys, request);
  };
  return options;
}

Task<RunningBox> box_of(ApiState& api, const Request& request, Purpose purpose) {
  const std::string sandbox = request.param("sbx");
  auto record = api.engine.get(sandbox);
  if (!record) {
    if (record.error().code == Code::not_found) record.error().tag = "SANDBOX_NOT_FOUND";
    co_return std::move(record.error());
  }
  CO_TRY(hand, co_await api.engine.hand(record->id, purpose));
  co_return RunningBox{std::move(*record), std::move(hand)};
}

// Whatever noticed it first.
Error said_of_disk(Error error) {
  if (error.tag != "ENOSPC" && error.tag != "EDQUOT") return error;
  error.tag = "DISK_FULL";
  error.what += ": delete sandboxes, snapshots or images, or make room on the disk";
  return error;
}

Error after_effect(Error error) {
  if (error.code == Code::unavailable || error.code == Code::timeout) error.code = Code::internal;
  return error;
}

}  // namespace glovebox::engine
