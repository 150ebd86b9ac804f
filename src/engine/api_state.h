// What the handlers of the API share. Each api_*.cc has the handlers of one chapter of docs/api.md;
// api.cc has their list.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "engine/api.h"
#include "engine/hand_link.h"
#include "engine/tool_calls.h"
#include "http/message.h"

namespace glovebox::engine {

struct ApiState {
  net::Loop& loop;
  Engine& engine;
  ApiKeys keys;
  net::TaskGroup tasks;
  // Terminals {sandbox, handle} that are being ended by a DELETE: their sockets say so when they
  // close.
  std::set<std::pair<std::string, std::uint64_t>> ending_ptys;
  ToolCallTable tool_calls;
};

// The sandbox of a data-plane request, running, with its hand.
struct RunningBox {
  wire::SandboxRecord record;
  std::shared_ptr<HandLink> hand;
};
Task<RunningBox> box_of(ApiState& api, const http::Request& request,
                        Purpose purpose = Purpose::work);

// A process that lives for one request: unless it has ended or was let go, dropping this kills it
// and what it started.
class Operation {
 public:
  // Attach::alone where the spec says so, else with hold.
  static Task<std::shared_ptr<Operation>> start(std::shared_ptr<HandLink> hand,
                                                wire::StartSpec spec);
  ~Operation();
  Operation(const Operation&) = delete;
  // One that runs, or has ended, from its first byte on.
  static Task<std::shared_ptr<Operation>> join(std::shared_ptr<HandLink> hand,
                                               std::uint64_t handle);
  void let_go() { let_go_ = true; }  // from now on it outlives this

  const wire::ProcessInfo& info() const { return attachment_->info(); }
  const std::shared_ptr<HandLink>& hand() const { return hand_; }
  Task<ProcessEvent> next(Millis limit);
  // Feeds all of stdin and closes it. That the process does not want it is no error: its end says
  // why.
  Task<void> feed(std::string bytes);

  struct Outcome {
    wire::ProcessInfo info;
    std::string out, err;
  };
  // To the end. Code::too_large when there is more than `limit` on stdout; of stderr the first part
  // is kept.
  Task<Outcome> finish(std::size_t limit);

 private:
  Operation(std::shared_ptr<HandLink> hand, std::unique_ptr<Attachment> attachment,
            wire::Kind kind);
  std::shared_ptr<HandLink> hand_;
  std::unique_ptr<Attachment> attachment_;
  wire::Kind kind_;
  bool ended_ = false, let_go_ = false;
};

// A disk that is full is told the same way by all.
Error said_of_disk(Error error);

// Statuses that make clients try again are not for requests that may have had their effect.
Error after_effect(Error error);

using Reply = Task<http::Response>;

// api_sandboxes.cc
// The {sbx} of a lifecycle path, as far as it can be one.
Result<std::string> sandbox_param(const http::Request& request);

// To have ended is a wrong state like others for verbs that depend on it: 400, not 410.
template <class T>
Result<T> ended_is_a_state(Result<T> result) {
  if (!result && result.error().code == Code::gone) result.error().code = Code::invalid;
  return result;
}
Result<ListQuery> list_query(const http::Request& request);
wire::SandboxRecord as_seen(wire::SandboxRecord record, const http::Request& request);
Reply create_sandbox(ApiState& api, http::Request request);
Reply list_sandboxes(ApiState& api, http::Request request);
Reply get_sandbox(ApiState& api, http::Request request);
Reply update_sandbox(ApiState& api, http::Request request);
Reply delete_sandbox(ApiState& api, http::Request request);
Reply comes_later(ApiState& api, http::Request request);

// api_port_tokens.cc
Reply make_port_token(ApiState& api, http::Request request);
// api_uplink.cc
Reply open_uplink(ApiState& api, http::Request request);
// api_ports.cc
Reply list_ports(ApiState& api, http::Request request);
Reply set_port(ApiState& api, http::Request request);
// api_pools.cc
Reply create_pool(ApiState& api, http::Request request);
Reply list_pools(ApiState& api, http::Request request);
Reply get_pool(ApiState& api, http::Request request);
Reply update_pool(ApiState& api, http::Request request);
Reply delete_pool(ApiState& api, http::Request request);
Reply claim_from_pool(ApiState& api, http::Request request);

// api_snapshots.cc
Reply take_snapshot(ApiState& api, http::Request request);
Reply copy_sandbox(ApiState& api, http::Request request);
Reply rollback_sandbox(ApiState& api, http::Request request);
Reply list_snapshots(ApiState& api, http::Request request);
Reply get_snapshot(ApiState& api, http::Request request);
Reply delete_snapshot(ApiState& api, http::Request request);
Reply export_snapshot(ApiState& api, http::Request request);
Reply import_snapshot(ApiState& api, http::Request request);

// api_life.cc
Reply suspend_sandbox(ApiState& api, http::Request request);
Reply resume_sandbox(ApiState& api, http::Request request);

// api_images.cc
Reply list_images(ApiState& api, http::Request request);
Reply get_image(ApiState& api, http::Request request);
Reply remove_image(ApiState& api, http::Request request);
Reply prune_images(ApiState& api, http::Request request);
Reply import_image(ApiState& api, http::Request request);
Reply pull_image(ApiState& api, http::Request request);
Reply put_context(ApiState& api, http::Request request);
Reply build_image(ApiState& api, http::Request request);
Reply make_debian(ApiState& api, http::Request request);

// api_volumes.cc
Reply create_volume(ApiState& api, http::Request request);
Reply list_volumes(ApiState& api, http::Request request);
Reply list_file_systems(ApiState& api, http::Request request);
Reply get_volume(ApiState& api, http::Request request);
Reply remove_volume(ApiState& api, http::Request request);
Reply attach_volume(ApiState& api, http::Request request);
Reply detach_volume(ApiState& api, http::Request request);

// api_processes.cc
Reply box_health(ApiState& api, http::Request request);
Reply box_info(ApiState& api, http::Request request);
Reply start_process(ApiState& api, http::Request request);
Reply list_processes(ApiState& api, http::Request request);
Reply get_process(ApiState& api, http::Request request);
Reply kill_process(ApiState& api, http::Request request);
Reply restart_process(ApiState& api, http::Request request);
Reply signal_process(ApiState& api, http::Request request);
Reply write_stdin(ApiState& api, http::Request request);
Reply close_stdin(ApiState& api, http::Request request);

// api_output.cc
Reply get_output(ApiState& api,
                 http::Request request);  // by the last part of the path: stdout, stderr, output
Reply follow_output(ApiState& api, http::Request request);  // the same, one part before the last
Reply run_process(ApiState& api, http::Request request);
// By pid, or by the name of a managed one: then the process there is now, or was last.
Task<wire::ProcessInfo> find_process(ApiState& api, RunningBox box, std::string id);

// api_files.cc
Reply read_file(ApiState& api, http::Request request);
Reply write_file(ApiState& api, http::Request request);
Reply delete_file(ApiState& api, http::Request request);
Reply list_files(ApiState& api, http::Request request);

// api_tools.cc
Reply call_tool(ApiState& api, http::Request request);
Reply end_tool_call(ApiState& api, http::Request request);

// api_pty.cc
Reply create_pty(ApiState& api, http::Request request);
Reply list_ptys(ApiState& api, http::Request request);
Reply get_pty(ApiState& api, http::Request request);
Reply delete_pty(ApiState& api, http::Request request);
Reply resize_pty(ApiState& api, http::Request request);
Reply pty_socket(ApiState& api, http::Request request);
// True for a token of this instance that has not expired; what it is for pty_socket checks.
bool is_pty_token(const ApiState& api, const http::Request& request);

// api_platform.cc
Reply introspect_key(ApiState& api, http::Request request);
Reply get_project(ApiState& api, http::Request request);
Reply list_secrets(ApiState& api, http::Request request);
Reply no_secrets(ApiState& api, http::Request request);
Reply list_archived(ApiState& api, http::Request request);
Reply get_archived(ApiState& api, http::Request request);
Reply usage_of_all(ApiState& api, http::Request request);
Reply healthz(ApiState& api, http::Request request);
Reply metrics_page(ApiState& api, http::Request request);

// api_logs.cc
Reply sandbox_logs(ApiState& api, http::Request request);
Reply sandbox_log_processes(ApiState& api, http::Request request);

// api_tunnel.cc
Reply tunnel_socket(ApiState& api, http::Request request);

// api_exec.cc
Reply exec_socket(ApiState& api, http::Request request);

}  // namespace glovebox::engine
