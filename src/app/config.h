// One TOML file configures everything; every setting can be overridden by
// GLOVEBOX_<SECTION>_<NAME>. The table in config.cc is the one place that knows the settings:
// reading, overriding, checking and handing them on to a part all walk it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"

namespace glovebox::app {

struct Config {
  std::string state = "/var/lib/glovebox";
  std::string log = "info";
  std::int64_t log_mb = 16;  // of one log file; two older ones are kept

  struct Engine {
    std::string listen = "127.0.0.1:8410";
    std::vector<std::string> allowed_hosts;  // besides this machine's own names
    std::string hand;                        // the hand's program; empty: beside ours
    std::string default_image = "host";
    std::int64_t blanks = 8;
    std::int64_t max_sandboxes = 2000;
    std::int64_t default_timeout_secs = 600;
    std::int64_t max_timeout_secs = 86400;
    std::int64_t pause_after_secs = 300;
    std::int64_t idle_cpu_percent = 5;
    std::int64_t default_pids = 512;
    std::string default_network = "internet";     // of boxes that ask for none in particular
    std::string network_range = "100.64.0.0/16";  // of the addresses of boxes' links
    std::int64_t reserve_mb = 1024;
    std::string pool;  // a directory on btrfs for the files of boxes; empty: a file of the engine's
  } engine;

  struct Brain {
    std::string listen = "127.0.0.1:8400";
    std::vector<std::string> allowed_hosts;
    std::string model_url = "https://api.anthropic.com";
    std::string default_model = "claude-sonnet-5-5";  // of the agent made at the first start
    std::string scenario;                             // of the rehearsal model; empty: its rules
    std::int64_t lease_ttl_secs = 300;
    std::int64_t keep_events_days = 0;  // 0: for ever
    std::int64_t max_sessions_running = 1000;
    bool webhooks_allow_private = false;
  } brain;

  struct Resolver {
    std::string listen;                // of /healthz and /metrics; empty: nowhere
    std::vector<std::string> servers;  // name servers; empty: those of /etc/resolv.conf
  } resolver;

  struct Ingress {
    std::string listen = "127.0.0.1:9443";
    std::string domain = "glovebox.localhost";  // NAME.domain is a sandbox, PORT-NAME.domain a port
    // The operator's, PEM: the certificate with those that lead to its root, and its key. Empty:
    // one of a local authority.
    std::string certificate, certificate_key;
    bool access_log = true;  // one line for each request
    std::int64_t max_connections = 10'000;
    std::int64_t source_connections = 4'000;  // of one address; an IPv6 /64 is one
    std::int64_t source_requests_per_second = 5'000;
    std::int64_t source_wakes_per_minute = 120;
    std::int64_t source_refusals_per_minute = 600;  // of credentials and unknown names
  } ingress;

  struct Orchestrator {
    std::string listen;          // of /healthz and /metrics; empty: nowhere
    std::string brain_url;       // empty: the brain beside it
    std::string environment_id;  // empty: the one its key is of
    std::string worker_id;       // empty: made of the host's name
    std::string image;           // of the boxes of sessions; empty: the engine's default
    // "inside": the worker runs in the session's box; "outside": here. "": inside where the mode is
    // webhook-sandbox, else outside.
    std::string runner;
    // "webhook-sandbox": the queue is asked when the receiver in a box is told to, not all the
    // time: by the receiver itself where the runner is inside, else by the orchestrator it tells.
    std::string mode = "poll";
    std::string webhook_sandbox_name = "webhook-orchestrator";
    std::int64_t webhook_sandbox_timeout_seconds = 600;  // idle, then it is suspended
    std::int64_t max_sessions = 64;
    std::int64_t max_idle_secs = 60;
    std::int64_t sandbox_timeout_seconds = 3600;
    bool resume_suspended_sessions = false;
    // What a session's metadata may pick from; "*": any.
    std::vector<std::string> session_images, session_snapshots, session_volumes;
    bool session_internet = false;
    // Where its files and repositories may come from: hosts of URLs ("*": any with a public
    // address), directories of this machine ("NAME=/path").
    std::vector<std::string> session_hosts = {"*"}, session_directories;
    std::string session_ca;                // certificates of such hosts, besides the system's
    std::int64_t session_files_mb = 1024;  // of all files of one box
    std::int64_t session_files_secs = 300;
    // Of sessions that nobody works on: 0 is no limit.
    std::int64_t keep_boxes = 500;
    std::int64_t keep_boxes_secs = 604'800;
    std::int64_t keep_outputs_secs = 0;  // outputs, and the sessions' own volumes
    std::int64_t clean_secs = 60;        // how often that is looked at
    // Boxes made ahead, as many as the queue has need of; pool_max = 0: none.
    std::int64_t pool_min = 0, pool_max = 0;
    std::int64_t poll_block_ms = 999;
    std::int64_t poll_reclaim_older_than_ms = 2000;
    std::string webhook_listen = "127.0.0.1:5051";  // of `orchestrate --mode=webhook`
    std::int64_t webhook_drain_seconds = 30;  // the queue is asked that often without a webhook
    std::int64_t webhook_reclaim_older_than_ms = 2000;
    std::int64_t drain_secs = 20;  // for tool calls that run when it is told to stop

    bool inside() const { return runner.empty() ? mode == "webhook-sandbox" : runner == "inside"; }
    // The box that takes webhooks takes the work, too: there is no orchestrator out here.
    bool steward() const { return mode == "webhook-sandbox" && inside(); }
  } orchestrator;

  struct Uplink {
    std::string listen = "127.0.0.1:0";  // for the orchestrator; boxes have listeners of their own
  } uplink;
};

// --config, GLOVEBOX_CONFIG, or /etc/glovebox/glovebox.toml where there is one; then the
// environment; then --state. A key nobody knows is refused by name. Some settings have a name of
// the reference integration too (RESUME_SUSPENDED_SESSIONS); GLOVEBOX_… beats it.
Result<Config> load_config(const cli::Context& context);
// Only from the environment: what a part does, which is told everything and reads no file.
Result<Config> config_of_environment(const cli::Environment& env);

Result<void> apply_toml(Config& config, const std::string& text, const std::string& file);
Result<void> apply_environment(Config& config, const cli::Environment& env);

// "GLOVEBOX_…=…" of all settings outside of sections and of those of one section ("": of all).
std::vector<std::string> exported(const Config& config, std::string_view section);

// What is said of variables that look like settings and are none.
std::vector<std::string> unknown_variables(const cli::Environment& env);

// One setting for people: what it is, what it would be if nobody had set it, who sets it.
struct ShownSetting {
  std::string key, value, usual, variable;
};
std::vector<ShownSetting> shown(const Config& config);
// Variables that are no settings, with what stands in them; of a secret only that there is one.
std::vector<ShownSetting> other_variables(const cli::Environment& env);

// Where the ingress shows the certificate of its local authority; it need not be there.
std::string ingress_certificate(const Config& config);

// For cli::Context: the state directory the configuration file names, if there is a readable one
// that does.
Result<std::optional<std::string>> configured_state(const cli::Context& context);

}  // namespace glovebox::app
