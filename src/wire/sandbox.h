// The Tensorlake sandbox API's lifecycle and data-plane JSON, as plain structs. Decoders say which
// member is wrong and why; members they do not know are counted (wire::unknown_members) and
// otherwise ignored. A member that is null is one that is absent, except where null says something
// (UpdateSandbox::clear_network).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "wire/hand.h"
#include "wire/managed.h"

namespace glovebox::wire {

// Members in requests that we do not know, since the start: clients move ahead of us.
std::uint64_t unknown_members();

// Starts with a lower-case letter; lower-case letters, digits and hyphens; no hyphen at the end; at
// most 63 characters; and not of the form of an id (21 lower-case letters and digits).
bool valid_name(std::string_view text);
bool valid_id(std::string_view text);

// Tensorlake's states; `timeout` only ever stands in a 504 answer.
enum class State { pending, running, snapshotting, suspending, suspended, terminated };
std::string_view name(State state);
std::optional<State> state_of(std::string_view text);

struct Resources {
  double cpus = 1.0;
  std::int64_t memory_mb = 1024;
  std::int64_t disk_mb = 10240;
};

struct Network {
  bool allow_internet_access = true;
  std::vector<std::string> allow_out, deny_out;
};

// A volume, and where it is in the box.
struct FileSystem {
  std::string id;  // "file_system_id": a volume's id or name; in records its id
  std::string mount_path;
  bool read_only = false;
  bool operator==(const FileSystem&) const = default;
};

struct CreateSandbox {
  std::string image;  // empty: the default image
  Resources resources;
  std::optional<std::int64_t> timeout_secs;
  std::vector<std::string> entrypoint;
  std::optional<Network> network;
  std::string snapshot_id;
  std::string name;
  std::vector<int> exposed_ports;
  bool allow_unauthenticated_access = false;
  std::vector<FileSystem> file_systems;
  bool has_gpus = false, has_secrets = false;  // refused by name until they come
  std::string template_id;
  std::string pool_id;    // not from a client: a claim that makes a box of its own says it
  std::string isolation;  // ours: "namespace" or "auto"; empty: the engine's default
};
Result<CreateSandbox> decode_create(std::string_view json);

Result<FileSystem> decode_attach(std::string_view json);
Result<std::string> decode_detach(std::string_view json);  // where it is mounted

struct UpdateSandbox {
  std::optional<std::string> name;
  std::optional<bool> allow_unauthenticated_access;
  std::optional<std::vector<int>> exposed_ports;
  bool clear_network = false;      // "network": null
  std::optional<Network> network;  // replace
  bool empty() const;
};
Result<UpdateSandbox> decode_update(std::string_view json);

struct SandboxRecord {
  std::string id;
  std::string name;               // empty: unnamed
  std::string space = "default";  // the API's "namespace"
  State status = State::pending;
  std::string tier;     // ours: how awake it is; words in engine/life.h
  std::string pool_id;  // of the pool it was claimed from
  std::string reason;   // ours: why it is in the state it is in, where nobody asked for that
  std::string isolation = "namespace";
  std::string image;  // exactly as asked for
  Resources resources;
  std::int64_t timeout_secs = 600;
  std::vector<std::string> entrypoint;
  std::optional<Network> network;
  std::vector<int> exposed_ports;
  std::vector<FileSystem> file_systems;
  bool allow_unauthenticated_access = false;
  std::int64_t created_at = 0, terminated_at = 0;  // unix ms; 0: not yet
  std::string outcome, termination_reason, error_details;
  std::int64_t oom_kills = 0;  // ours: processes the kernel ended for want of memory
  std::int64_t last_oom_kill_at = 0, last_activity_at = 0;  // ours, unix ms
  std::uint64_t generation = 1;
  std::string sandbox_url;  // made from the request's scheme and Host
  std::string snapshot_id;  // ours: the snapshot its files descend from
  std::string rollback_to;  // ours: its files are being replaced by those of this one
  // Ours: what its processes were started above, and what they were shown. Empty: nothing such.
  std::string host_generation;  // of the machine's own image
  std::string inside_version;   // of the programs at /dev/glovebox
};
// `id` and never `sandbox_id` beside it: both in one record break the official parser.
std::string encode_record(const SandboxRecord& record);   // get, list members, update
std::string encode_created(const SandboxRecord& record);  // create: `sandbox_id`
// A claim that named file systems: clients delete a sandbox that doesn't say that it has them.
std::string encode_claimed_with_file_systems(const SandboxRecord& record);
std::string encode_list(const std::vector<SandboxRecord>& records, const std::string& next,
                        const std::string& previous);
// The same of terminated ones, with `archived_at`.
std::string encode_archived(const SandboxRecord& record);
std::string encode_archived_list(const std::vector<SandboxRecord>& records, const std::string& next,
                                 const std::string& previous);
Result<SandboxRecord> decode_record(std::string_view json);  // either id member: for the CLI
Result<std::vector<SandboxRecord>> decode_list(std::string_view json, std::string* next);

struct StartProcess {  // POST /processes and /processes/run
  StartSpec spec;
  double timeout = 0;                  // run only, seconds; 0: none
  std::optional<ManagedSpec> managed;  // any of `name`, `restart`, `health_check` makes it that
};
Result<StartProcess> decode_process_start(std::string_view json);
// Ours: the first message of an exec WebSocket. The same, and "pty", "rows", "cols"; stdin is a
// pipe unless it says "closed".
Result<StartProcess> decode_exec(std::string_view json);
// The API's process record, of a managed one with what is kept of it; and {"processes":[…]}.
std::string encode_process(const ProcessInfo& info, const Managed* managed = nullptr);
using ProcessEntry = std::pair<ProcessInfo, std::optional<Managed>>;
std::string encode_processes(const std::vector<ProcessEntry>& entries);

struct StartPty {
  StartSpec spec;
};
Result<StartPty> decode_pty(std::string_view json);
// A terminal's session is a process of the box: its id is made of the handle.
std::string pty_session_id(std::uint64_t handle);
std::optional<std::uint64_t> pty_handle(std::string_view session_id);
std::string encode_pty_created(const ProcessInfo& info, std::string_view token);
std::string encode_pty(const ProcessInfo& info);
std::string encode_ptys(const std::vector<ProcessInfo>& infos);
Result<std::pair<std::uint32_t, std::uint32_t>> decode_resize(
    std::string_view json);                        // clamped to 1..500 × 1..1000
Result<int> decode_signal(std::string_view json);  // {"signal": 1..64}

struct ToolCall {  // ours: POST /api/v1/tools/{tool}
  std::string content;
  bool is_error = false;
};
Result<ToolCall> decode_tool_result(std::string_view json);
std::string encode_tool_result(const ToolCall& call);
Result<void> check_tool_input(
    std::string_view json);  // an object; what must be in it the tool says

std::string encode_error_body(std::string_view what, std::string_view code,
                              std::string_view request_id);

}  // namespace glovebox::wire
