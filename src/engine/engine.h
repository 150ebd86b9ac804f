// The engine's core: the life of boxes. The API (api_*.cc) decodes, asks this, encodes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/secret.h"
#include "engine/hand_link.h"
#include "net/descriptor.h"
#include "net/loop.h"
#include "wire/ingress.h"
#include "wire/pool.h"
#include "wire/sandbox.h"
#include "wire/snapshot.h"

namespace glovebox::engine {

struct Options {
  std::string state_dir;                     // ours alone, 0700
  std::string hand_program;                  // build/bin/glovebox-hand
  std::string uplink_socket;                 // of the uplink's Intake; empty: none
  std::vector<std::string> inside_programs;  // the worker first, and what it needs beside it
  std::string image_program = {};            // glovebox-image; empty: beside the hand
  std::string default_image = "host";
  int blanks = 8;  // boxes' namespaces made ahead
  int max_sandboxes = 2000;
  std::int64_t default_timeout_secs = 600;
  std::int64_t max_timeout_secs = 86400;
  std::int64_t pause_after_secs = 300;  // of idleness; 0: never
  std::int64_t idle_cpu_percent = 5;    // of one core; a box that uses less is idle
  std::int64_t default_pids = 512;
  std::string default_network = "internet";     // of a create that says nothing of it; or "none"
  std::string network_range = "100.64.0.0/16";  // of the addresses of boxes' links
  std::string resolver_socket;                  // where the resolver takes descriptors; empty: none
  std::int64_t reserve_mb = 1024;  // of the pool, and of the disk the state directory is on: below
                                   // it creates are refused
  std::string pool;                // a directory on btrfs; empty: see storage.h
};

// What a worker that runs inside of a box needs there.
struct Uplink {
  std::string url;      // of the service, as far as the box was granted it
  std::string program;  // the worker
};

struct ListQuery {
  std::size_t limit = 100;
  std::string cursor;
  bool backward = false;
  std::string status;  // empty: all, terminated ones too
};
struct ListPage {
  std::vector<wire::SandboxRecord> records;  // newest first
  std::string next, previous;
};

struct SandboxUsage {
  wire::SandboxRecord record;
  std::int64_t cpu_ms = 0;  // since it was made
  std::int64_t memory_bytes = 0, pids = 0;
  std::int64_t disk_bytes = -1;  // -1: not known
  bool in_use = false;           // an operation is under way
  std::int64_t last_activity_ms = 0;
};

struct PoolView {
  wire::Pool pool;
  std::vector<wire::PoolContainer> containers;
};

struct Core;
class ManagedProcesses;
enum class Purpose { work, watch };

class Images;
struct Volume;
class Volumes;

class Engine {
 public:
  // Opens the state, starts or finds the launcher, finds the boxes of an earlier engine again and
  // cleans up what a crash left.
  static Task<std::unique_ptr<Engine>> open(net::Loop& loop, Options options);
  ~Engine();

  Task<wire::SandboxRecord> create(wire::CreateSandbox spec);
  Result<wire::SandboxRecord> get(std::string id_or_name) const;
  Result<ListPage> list(ListQuery query) const;
  Task<wire::SandboxRecord> update(std::string id_or_name, wire::UpdateSandbox change);
  Task<void> remove(std::string id_or_name);  // idempotent for a terminated one
  // Of a named sandbox: its processes stand still until it is wanted again. False: there was
  // nothing to do. Code::conflict with tag SANDBOX_IN_USE while an operation is under way in it.
  Task<bool> suspend(std::string id_or_name);
  Task<bool> resume(std::string id_or_name);

  // What was taken is complete when this returns. Code::unsupported for a type that needs another
  // isolation.
  Task<wire::SnapshotRecord> snapshot(std::string id_or_name, wire::TakeSnapshot wanted = {});
  Result<std::vector<wire::SnapshotRecord>> snapshots() const;  // newest first
  Result<wire::SnapshotRecord> get_snapshot(std::string id) const;
  Task<void> delete_snapshot(std::string id);
  // Whether it is there, whole as far as its manifest says, and ours: before a word of an export.
  Result<void> check_snapshot(const std::string& id) const;
  // To and from one file (snapshot_file.h), piece by piece; an empty piece ends it. What comes in
  // is believed nothing, and is a snapshot once all of it has been seen to be whole.
  Task<void> export_snapshot(std::string id, std::function<Task<void>(std::string)> sink);
  Task<wire::SnapshotRecord> import_snapshot(std::function<Task<std::string>()> source);
  // New sandboxes with the files the sandbox has now, without names; one that could not be made is
  // `terminated` and says why.
  Task<std::vector<wire::SandboxRecord>> copy(std::string id_or_name, int times);
  // The same sandbox with the files of then; its processes end, its entrypoint starts again.
  Task<wire::SandboxRecord> rollback(std::string id_or_name, std::string snapshot_id);

  // The hand of a box, connected, for one operation: the box is woken if it sleeps, and stays awake
  // for as long as anybody holds what this gives. Code::gone for a terminated one, Code::conflict
  // with tag SANDBOX_NOT_RUNNING for one that is not up yet.
  // Held to watch, the box is not idle, but whoever asks for it to be suspended is obeyed.
  Task<std::shared_ptr<HandLink>> hand(std::string id_or_name, Purpose purpose = Purpose::work);
  // For a look that neither wakes a box nor keeps it awake: nullptr while it sleeps.
  Task<std::shared_ptr<HandLink>> peek(std::string id_or_name);

  // The hand of any sandbox that has one, awake or not, for what only looks: it wakes nothing and
  // counts as no use. Null where there is none.
  Task<std::shared_ptr<HandLink>> look(std::string id_or_name);
  Task<std::vector<SandboxUsage>> usage();  // of all live ones
  // A connection to a port of the sandbox's loopback, whatever its network. CONNECTION_REFUSED
  // where nobody listens.
  Task<std::unique_ptr<net::Stream>> dial(std::string id_or_name, int port, Millis limit);
  // The same as a descriptor, for handing it on.
  Task<std::shared_ptr<net::Descriptor>> dial_socket(std::string id_or_name, int port,
                                                     Millis limit);
  // Whether there was a sandbox of that name, and is none now.
  Result<bool> had(const std::string& name) const;
  // Called when a sandbox's name, ports or access have changed, and when it has ended.
  void when_changed(std::function<void(const std::string& id)> call);
  // What a sandbox exposes, and what that asks of requests. A verified port is exposed, open to
  // whoever signs with one of its secrets; without its rule it stays exposed, for tokens.
  Result<std::vector<wire::IngressPort>> ports(const std::string& id_or_name) const;
  Task<void> verify_port(std::string id_or_name, wire::IngressPort port);
  Task<void> unverify_port(std::string id_or_name, int port);
  ManagedProcesses& managed();
  // A listener in the box's network namespace goes to the uplink's process, which must have a grant
  // for the box; the worker's programs are shown at /dev/glovebox. `port` 0: any that is free. May
  // be asked for again: after a new start of that process by the port it was.
  Task<Uplink> open_uplink(std::string id_or_name, int port);
  Images& images();
  Task<void> remove_image(std::string name_or_id);
  Volumes& volumes();
  Task<Volume> create_volume(std::string name, std::int64_t size_mb);
  Task<void> remove_volume(std::string id_or_name);
  // Of a sandbox that lives, whatever it does.
  Task<wire::SandboxRecord> attach_volume(std::string id_or_name, wire::FileSystem wanted);
  Task<wire::SandboxRecord> detach_volume(std::string id_or_name, std::string mount_path);

  Task<wire::Pool> create_pool(wire::PoolSpec spec);
  Task<wire::Pool> update_pool(std::string id, wire::PoolSpec spec);
  Task<void> remove_pool(std::string id);  // Code::conflict while sandboxes claimed from it live
  std::vector<wire::Pool> pools() const;   // oldest first
  Result<PoolView> pool(const std::string& id) const;
  // A warm sandbox becomes the caller's. Without one it is made now; where the pool is full it is
  // pending until there is room.
  Task<wire::SandboxRecord> claim(std::string pool_id, wire::ClaimSandbox wanted);

  const std::string& instance() const;
  const std::string& default_image() const;  // of sandboxes that ask for none
  const Secret& token_key() const;           // of capability tokens, kept in the state directory
  std::size_t running() const;               // boxes alive
  Task<void> close();                        // boxes live on
  Task<void>
  destroy_all();  // no box, launcher, control group, claim or socket is left; then close()

 private:
  explicit Engine(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace glovebox::engine
