// The engine's insides, shared by the files of its verbs: create.cc, remove.cc, recover.cc,
// blanks.cc, and engine.cc in front.
//
// Order everywhere: disk first, kernel second, memory third, the world last. Whatever a crash
// leaves between two of these is found by recover.cc, which believes the kernel about what runs and
// the disk about what should.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/fd.h"
#include "base/random.h"
#include "engine/claims.h"
#include "engine/engine.h"
#include "engine/images.h"
#include "engine/launcher_link.h"
#include "engine/life.h"
#include "engine/managed.h"
#include "engine/network.h"
#include "engine/records.h"
#include "engine/snapshot_records.h"
#include "engine/storage.h"
#include "engine/volumes.h"
#include "engine/warm_pool.h"
#include "net/descriptor.h"
#include "net/loop.h"
#include "sys/cgroup.h"

namespace glovebox::engine {

// A read-only root that boxes start from. Paths are below the state directory.
struct Image {
  std::string root;
  std::string usr_mask;  // over the machine's /usr; empty: the image has its own
  std::string generation;
  std::string host_generation = {};  // of the machine's own image that is in it; empty: none
  std::vector<std::string> env;
  std::string cwd;
  std::string user = {};                     // of its processes; empty: root
  std::vector<std::string> entrypoint = {};  // where the sandbox brings none of its own
  std::string upper = {};  // a box's own files begin as a copy of this subvolume of the pool
  ImageConfig config = {};
};

// What a box is made of.
struct BoxPlan {
  std::shared_ptr<const Image> image;  // the lowest layer
  // The box's own files begin as a copy of this one's; empty: with nothing.
  std::string snapshot = {};
  // The box they have been copied for already: that is its id. Empty: they are yet to be.
  std::string copied_for = {};
};

// A box with a record that is not terminated.
struct Box {
  wire::SandboxRecord record;
  BoxPlan plan;
  uid_t base = 0;
  pid_t pid = 0;         // of the hand, on the host; 0 until it runs
  bool settled = false;  // its creation has ended, well or not
  net::Event changed;
  std::shared_ptr<HandLink> link;
  bool linking = false;
  bool networking = false;  // its network is being changed
  Life life;
};

struct Blank {  // a box that waits to be told what it is: its id is the one the next sandbox gets
  std::string id;
  uid_t base = 0;
};

// Of sandboxes and snapshots, in the form that the API's clients tell from names.
inline std::string new_id() { return random_id(21); }

struct Snapshots;

struct Core {
  Core(net::Loop& loop, Options options);
  ~Core();

  // recover.cc
  Task<void> open();
  Task<void> recover();
  Result<void> adopt_or_end(const Row& row, const std::map<std::string, wire::BoxNote>& notes);
  Result<void> sweep(const std::set<std::string>& known);
  Task<void> regain_launcher();
  Task<void> watch(std::string id, pid_t pid);  // a box whose parent is no launcher of ours
  Task<void> open_launcher();
  Task<void> open_storage();
  Task<void> tend_storage();

  // collect.cc
  Task<void> collect();
  Task<void> keep_collecting();

  // blanks.cc
  Task<Blank> make_blank(BoxPlan plan);  // with an id and user ids of its own
  // One made ahead where there is one, else made now. `link`: it would be good if it had one; one
  // that is to have none never has.
  Task<Blank> take_blank(BoxPlan plan, bool link);
  // The box in kernel of a blank whose files are there; also of a sandbox that is started again,
  // once the launcher has forgotten the box it was.
  Task<void> prepare(Blank blank, BoxPlan of, bool spare = false);
  bool usual(const BoxPlan& plan) const { return plan.image == image && plan.snapshot.empty(); }
  Result<void> make_files(const std::string& id, const BoxPlan& plan) const;  // blocks
  Task<void> keep_blanks();
  Result<uid_t> take_range();

  // create.cc
  // `files`: the id of a copy of the snapshot's, see copy().
  Task<wire::SandboxRecord> create(wire::CreateSandbox spec, std::string files = {});
  Result<void> check(const wire::CreateSandbox& spec) const;
  wire::BoxTerms terms_of(const wire::Resources& resources, const Image& image) const;
  wire::SandboxRecord record_of(const wire::CreateSandbox& spec) const;
  Result<std::shared_ptr<const Image>> image_for(const wire::CreateSandbox& spec) const;
  Result<BoxPlan> plan_of(const wire::CreateSandbox& spec) const;
  Task<void> launch(std::shared_ptr<Box> box, BoxPlan plan);
  Task<void> start(std::shared_ptr<Box> box);  // from a prepared box to one whose entrypoint runs
  Task<wire::SandboxRecord> update(std::string id_or_name, wire::UpdateSandbox change);

  // box_network.cc
  // What the record is to say of the network: what was asked for, or that there is none where the
  // default cannot be had.
  Task<std::optional<wire::Network>> settle_network(std::optional<wire::Network> asked);
  NetworkPolicy policy_of(const wire::SandboxRecord& record) const;
  NetworkPolicy usual_policy() const { return policy_of({}); }  // of who asked for nothing else
  Task<void> attach_network(std::shared_ptr<Box> box);          // as its record says
  Task<void> change_network(std::shared_ptr<Box> box, std::optional<wire::Network> before);
  Task<void> recover_network();
  // The kind of blank that is lacking: with a link or without; nothing: there are enough of both.
  std::optional<bool> lacking_blank() const;

  // volume_mounts.cc
  Task<void> mount_volumes(std::shared_ptr<Box> box, std::vector<wire::FileSystem> wanted);
  Task<wire::SandboxRecord> attach_volume(std::string id_or_name, wire::FileSystem wanted);
  Task<wire::SandboxRecord> detach_volume(std::string id_or_name, std::string mount_path);
  Task<void> regain_volumes(std::shared_ptr<Box> box);
  // Of a box, held, so that the number cannot come to mean another one. Blocks.
  Result<Fd> first_process(const std::string& id, pid_t pid) const;

  // snapshot.cc
  Task<wire::SnapshotRecord> snapshot(std::string id_or_name, wire::TakeSnapshot wanted);
  Task<Moving> turn_at(std::shared_ptr<Box> box);
  Task<wire::SnapshotRecord> take(std::shared_ptr<Box> box, bool temporary);
  Task<void> seal(std::shared_ptr<Box> box, std::string snapshot);
  Task<void> remove_snapshot_files(std::string id);
  Task<void> fail_snapshot(wire::SnapshotRecord record, std::string why);
  Task<void> delete_snapshot(std::string id);
  Result<void> disown(const wire::SnapshotRecord& gone);
  Task<void> finish_deleting(std::string id);
  Task<void> recover_snapshots();

  // snapshot_carry.cc
  using Sink = std::function<Task<void>(std::string piece)>;
  using Source = std::function<Task<std::string>()>;  // the next piece; empty at the end
  class Arrival;
  Task<void> export_snapshot(std::string id, Sink sink);
  Task<wire::SnapshotRecord> import_snapshot(Source source);
  Task<void> drop_arrival(wire::SnapshotRecord record);

  // snapshot_restore.cc
  Result<wire::SnapshotRecord> usable_snapshot(const std::string& id) const;
  Result<void> inherit(wire::CreateSandbox& spec) const;
  Task<std::vector<wire::SandboxRecord>> copy(std::string id_or_name, int times);
  Task<std::vector<std::string>> copy_files(std::string snapshot, int times);
  Task<wire::SandboxRecord> rollback(std::string id_or_name, std::string snapshot_id);
  Task<void> roll_back(std::shared_ptr<Box> box);
  void resume_rollbacks();
  Task<void> resume_rollback(std::shared_ptr<Box> box, Moving moving);
  Task<void> replace_files(std::shared_ptr<Box> box);

  // remove.cc
  Task<void> remove(std::string id_or_name);
  Result<void> terminate(const std::shared_ptr<Box>& box, std::string outcome, std::string reason,
                         std::string details);
  Task<void> kill(std::string id);
  void start_cleaning(const std::string& id, uid_t base);
  Task<void> clean(std::string id, uid_t base);
  Task<void> clean_kernel(std::string id);
  Task<void> forget(std::string id);  // the launcher, once it has reaped the hand
  void on_exit(const wire::BoxNote& note);
  Task<void> destroy_all();

  // life.cc
  Task<bool> suspend(std::string id_or_name);  // false: it was suspended already
  Task<bool> resume(std::string id_or_name);   // false: it was running already
  Task<void> awake(std::shared_ptr<Box> box);  // what every operation begins with
  Task<void> wake(std::shared_ptr<Box> box, Moving moving);
  Task<void> wake_suspended(std::shared_ptr<Box> box);
  Task<void> put_to_sleep(std::shared_ptr<Box> box, std::string reason, Moving moving);
  Task<void> run_on(std::shared_ptr<Box> box);
  void recover_life(const std::shared_ptr<Box>& box, const sys::BoxCgroups& groups);
  Task<void> sleep_again(std::shared_ptr<Box> box, Moving moving);
  Task<void> come_to_rest(std::shared_ptr<Box> box);
  Task<bool> works_unwatched(std::shared_ptr<Box> box);

  // cold.cc
  Result<bool> was_rebooted() const;
  Result<void> note_boot() const;
  Result<bool> adopt_cold(const std::shared_ptr<Box>& box);
  Task<void> clear_kernel(std::string id);
  Task<void> clear_cold(std::shared_ptr<Box> box, Moving moving);
  Task<void> start_cold(std::shared_ptr<Box> box);
  Task<void> launch_cold(std::shared_ptr<Box> box);

  // idle.cc
  Task<void> watch_idle();
  Task<void> look_at_all();
  void look_at(const std::shared_ptr<Box>& box);
  void take_sample(const std::shared_ptr<Box>& box, const sys::BoxCgroups::Usage& usage);
  void note_oom_kills(const std::shared_ptr<Box>& box, std::int64_t count);
  Task<void> rest(std::shared_ptr<Box> box, bool over);
  Task<void> pause(std::shared_ptr<Box> box, Moving moving);
  Millis pause_after() const;

  // warm_pool.cc
  Task<wire::Pool> create_pool(wire::PoolSpec spec);
  Task<wire::Pool> update_pool(std::string id, wire::PoolSpec spec);
  Task<void> remove_pool(std::string id);
  Task<wire::SandboxRecord> claim(std::string pool_id, wire::ClaimSandbox wanted);
  Result<std::shared_ptr<WarmPool>> pool_of(const std::string& id) const;
  std::vector<wire::PoolContainer> containers_of(const WarmPool& of) const;
  std::vector<std::shared_ptr<Box>> claimed_of(const WarmPool& of) const;
  std::size_t room_of(const WarmPool& of) const;
  Result<void> check_claim(const WarmPool& of, wire::ClaimSandbox& wanted);
  Result<wire::SandboxRecord> claimed_record(const WarmPool& of, wire::SandboxRecord record,
                                             const wire::ClaimSandbox& wanted);
  Result<void> take_warm(WarmPool& of, const std::shared_ptr<Box>& box,
                         const wire::ClaimSandbox& wanted);
  Task<wire::SandboxRecord> furnish(std::shared_ptr<Box> box, Moving moving);
  Result<wire::SandboxRecord> queue_claim(WarmPool& of, const wire::ClaimSandbox& wanted);
  Task<void> start_waiting(std::shared_ptr<Box> box);
  Task<void> launch_waiting(std::shared_ptr<Box> box);
  void drop_ended(WarmPool& of);
  Task<void> keep_pools();
  void tend(const std::shared_ptr<WarmPool>& pool);
  Task<void> make_warm(std::shared_ptr<WarmPool> of);
  Task<bool> make_one(std::shared_ptr<WarmPool> of, std::shared_ptr<Box> box);
  Task<void> raise_warm(std::shared_ptr<WarmPool> of, std::shared_ptr<Box> box);
  void drop_warm(WarmPool& from, std::shared_ptr<Box> box);
  void end_warm(const std::string& id, uid_t base);
  bool lose_warm(const std::string& id);
  void end_pools();
  Result<void> recover_pools(const std::map<std::string, wire::BoxNote>& notes,
                             std::set<std::string>& known_ids);
  bool wait_again(const std::shared_ptr<Box>& box);

  // pause.cc
  Task<void> freeze(std::shared_ptr<Box> box, Millis limit);
  Task<void> thaw(std::shared_ptr<Box> box);
  Task<void> give_back_memory(std::shared_ptr<Box> box);
  // usage.cc
  Task<std::vector<SandboxUsage>> usage();

  // dial.cc
  // A connection to a port of the box's loopback. CONNECTION_REFUSED where nobody listens.
  Task<std::unique_ptr<net::Stream>> dial(std::string id_or_name, int port, Millis limit);
  Task<std::shared_ptr<net::Descriptor>> dial_socket(std::string id_or_name, int port,
                                                     Millis limit);

  // ports.cc
  Task<void> verify_port(std::string id_or_name, wire::IngressPort port);
  Task<void> unverify_port(std::string id_or_name, int port);

  // uplink.cc
  Task<Uplink> open_uplink(std::string id_or_name, int port);

  // engine.cc
  std::shared_ptr<Box> find(const std::string& id_or_name) const;
  // A live one, or the reason why there is none of that id or name.
  Result<std::shared_ptr<Box>> known(const std::string& id_or_name);
  // Wakes the box; it stays awake for as long as anybody holds what this gives.
  Task<std::shared_ptr<HandLink>> hand(std::string id_or_name, Purpose purpose = Purpose::work);
  Task<std::shared_ptr<HandLink>> peek(std::string id_or_name);
  Task<std::shared_ptr<HandLink>> look(std::string id_or_name);
  Task<std::shared_ptr<HandLink>> link_of(std::shared_ptr<Box> box);  // however awake the box is
  Task<void> synced();  // what was committed so far survives a power cut
  // Runs a task to its end whatever becomes of who asked: a client that hangs up must not leave
  // half a box.
  template <class T>
  Task<T> finish(std::string name, Task<T> task);

  std::string path(std::string_view below) const { return str(options.state_dir, "/", below); }
  std::string box_dir(std::string_view id) const { return str("pool/boxes/", id); }
  std::string hand_socket(std::string_view id) const { return str("hands/", id, ".sock"); }

  net::Loop& loop;
  Options options;
  std::string instance, prefix;
  Secret token_key;
  Fd hands_dir;  // sockets are dialled through it: no limit on the length of the state directory's
                 // name
  std::optional<Records> records;
  std::optional<Claims> claims;
  std::optional<Storage> storage;
  std::unique_ptr<Snapshots> snapshots;
  std::multiset<std::string> exporting;  // ids of snapshots
  sys::CgroupRoots cgroups;
  std::shared_ptr<const Image> image;  // the default one
  std::map<std::string, std::shared_ptr<Box>> boxes;
  std::map<std::string, std::string> names;  // of live boxes → id
  std::set<uid_t> ranges_taken;
  std::deque<Blank> blanks;
  net::Event blanks_wanted;
  std::size_t creating = 0, cleaning = 0;
  std::size_t arriving = 0;  // of those being created, the ones that are not in `boxes` yet
  net::Event cleaned;
  bool closing = false;
  bool rebooted = false;       // since an engine was last here
  bool image_changed = false;  // likewise: the machine's packages
  std::atomic<bool> stopping =
      false;  // read by the pool's threads: what can wait for the next start does
  std::unique_ptr<Images> images;  // before the pool, whose threads flush its records
  net::Pool pool{4};
  net::Pool killers{1};  // a delete must not queue behind the removal of somebody's million files
  std::unique_ptr<Pools> pools;
  Freezers freezers;
  net::TaskGroup work;
  std::unique_ptr<LauncherLink> launcher;
  std::uint64_t launchers_lost = 0;  // what was being made ahead then has a parent that is gone
  std::unique_ptr<ManagedProcesses> managed;
  std::unique_ptr<Network> network;
  // Called when a sandbox's name, ports or access have changed, and when it has ended.
  std::function<void(const std::string& id)> on_change = [](const std::string&) {};
  double link_share = 0;  // of the boxes that were asked for lately, how many with a link
  std::unique_ptr<Volumes> volumes;
};

}  // namespace glovebox::engine
