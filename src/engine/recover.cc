// Start-up: what there is on disk and in the kernel becomes what there is in memory, and what a
// crash left half done is ended.

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/image_host.h"
#include "engine/port_rules.h"
#include "engine/snapshot.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr Millis kTendPause = 2s;  // between looks at the room in the pool
constexpr std::int64_t kKeepTerminatedMs = 30ll * 24 * 3600 * 1000;

// A small file that is made once: the instance's id, its key.
Result<std::string> keep(const std::string& path, std::string fresh) {
  auto there = sys::read_file(path, 4096);
  if (there) return there;
  if (there.error().code != Code::not_found) return there;
  TRY_DO(sys::write_file_atomic(path, fresh, 0600));
  return fresh;
}

Result<std::vector<std::string>> names_in(const std::string& directory) {
  DIR* dir = ::opendir(directory.c_str());
  if (!dir) return sys_error(str("list ", directory));
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir))
    if (std::string_view name = entry->d_name; name != "." && name != "..")
      names.emplace_back(name);
  ::closedir(dir);
  return names;
}

// What holds it may have been lost with the power. Its files are nothing without what they began
// with: if that cannot be found the box is not started over another root.
std::shared_ptr<const Image> image_of(Core& core, const wire::SandboxRecord& record) {
  if (auto held = core.images->held(record.id)) return held;
  if (record.status == wire::State::pending || core.images->is_default(record.image))
    return core.image;
  auto found = core.images->held("snapshot:" + record.snapshot_id);
  if (!found) found = core.images->resolve(record.image).value_or(nullptr);
  if (found && core.images->hold(record.id, *found)) return found;
  log::error("sandbox.image_lost", {{"sandbox", record.id}, {"image", record.image}});
  auto lost = std::make_shared<Image>();
  lost->root = "pool/images/lost";
  lost->generation = "lost";
  return lost;
}

}  // namespace

Task<void> Core::open() {
  CO_TRY_DO(sys::make_dirs(options.state_dir, 0700), "state directory");
  for (auto part : {"hands", "images"}) CO_TRY_DO(sys::make_dirs(path(part), 0700));
  CO_TRY(id, keep(path("instance"), random_id(8)));
  CO_TRY(key, keep(path("token.key"), random_bytes(32)));
  instance = id;
  token_key = Secret(key);
  prefix = "glovebox-" + instance;
  hands_dir.reset(::open(path("hands").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!hands_dir) co_return sys_error("open folder of sockets");
  CO_TRY(found, Records::open(path("engine.db")));
  records.emplace(std::move(found));
  pools = std::make_unique<Pools>(records->database());
  claims.emplace("/run/glovebox/claims", options.state_dir, instance);
  CO_TRY_DO(claims->load());
  CO_TRY(roots, sys::find_cgroups(), "control groups");
  cgroups = std::move(roots);
  for (const auto& missing : cgroups.missing)
    log::warn("engine.no_limit", {{"controller", missing}});
  CO_TRY_DO(sys::prepare(cgroups, prefix), "control groups");

  CO_TRY_DO(co_await open_storage());
  CO_TRY(snapshot_key, keep(path("snapshot.key"), random_bytes(32)));
  snapshots.reset(new Snapshots{SnapshotRecords(records->database()), Secret(snapshot_key)});
  auto host = std::make_shared<HostImage>();
  std::function<Result<void>()> build = [this, host]() -> Result<void> {
    TRY(built, build_host_image(path("images")), "image of this machine");
    *host = std::move(built);
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(build)));
  std::string below = host->dir.substr(options.state_dir.size() + 1);
  image = std::make_shared<const Image>(
      Image{.root = below + "/root",
            .usr_mask = below + "/usr-mask",
            .generation = host->generation,
            .host_generation = host->generation,
            .env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8", "HOME=/root", "USER=root", "SHELL=/bin/bash"},
            .cwd = "/workspace"});
  CO_TRY(links, Network::make(loop, {instance, prefix, cgroups, "/run/glovebox/claims",
                                     options.network_range, options.resolver_socket}));
  network = std::move(links);
  images = std::make_unique<Images>(*this);
  CO_TRY_DO(co_await images->open(), "images");
  volumes = std::make_unique<Volumes>(*this);
  CO_TRY_DO(co_await volumes->open(), "volumes");
  CO_TRY_DO(co_await open_launcher());
  CO_TRY(restarted, was_rebooted());
  rebooted = restarted;
  CO_TRY_DO(co_await recover());
  CO_TRY_DO(managed->open(), "managed processes");
  resume_rollbacks();
  CO_TRY_DO(co_await recover_snapshots(), "snapshots");
  CO_TRY_DO(note_boot(), "note that we were here");
  CO_TRY_DO(co_await images->end_build_boxes(), "builds of before");
  work.spawn("blanks", keep_blanks());
  work.spawn("idle", watch_idle());
  work.spawn("pools", keep_pools());
  work.spawn("pool", tend_storage());
  work.spawn("collect", keep_collecting());
  co_return ok;
}

Task<void> Core::open_storage() {
  std::function<Result<void>()> open = [this]() -> Result<void> {
    TRY(opened, Storage::open({options.state_dir, options.pool, instance, options.reserve_mb}));
    storage.emplace(std::move(opened));
    return ok;
  };
  co_return co_await pool.run(std::move(open));
}

Task<void> Core::tend_storage() {
  while (!closing) {
    std::function<Result<void>()> tend = [this] { return storage->tend(); };
    auto tended = co_await pool.run(std::move(tend));
    if (!tended) log::warn("engine.pool", {{"error", tended.error().what}});
    if (!co_await net::sleep(kTendPause)) break;  // told to stop
  }
  co_return ok;
}

Task<void> Core::open_launcher() {
  auto exited = [this](const wire::BoxNote& note) { on_exit(note); };
  auto lost = [this] {
    if (!closing) work.spawn("launcher again", regain_launcher());
  };
  CO_TRY(link, co_await LauncherLink::open(
                   loop, {options.state_dir, options.hand_program, instance}, exited, lost));
  launcher = std::move(link);
  co_return ok;
}

Task<void> Core::recover() {
  // Blanks of an image that is not the present one any more (the machine was upgraded) are of no
  // use.
  auto before = sys::read_file(path("blanks.image"), 256);
  image_changed = !before || *before != image->generation;
  if (image_changed)
    CO_TRY_DO(sys::write_file_atomic(path("blanks.image"), image->generation, 0600));
  CO_TRY(list, co_await launcher->list());
  std::map<std::string, wire::BoxNote> notes;
  for (auto& note : list) notes[note.id] = note;
  CO_TRY(rows, records->uncleaned());
  std::set<std::string> known;
  CO_TRY_DO(recover_pools(notes, known), "pools");
  for (const Row& row : rows) {
    known.insert(row.record.id);
    ranges_taken.insert(row.base);
    CO_TRY_DO(adopt_or_end(row, notes));
  }
  for (const auto& [id, note] : notes) {
    if (known.contains(id)) continue;
    known.insert(id);
    ranges_taken.insert(note.base);
    // One with a snapshot's files was made for somebody who was not told of it.
    if (note.stage == wire::BoxStage::blank && note.spare && !image_changed) {
      blanks.push_back({id, note.base});
    } else {
      start_cleaning(id, note.base);
    }
  }
  CO_TRY_DO(co_await recover_network());
  CO_TRY_DO(sweep(known));
  CO_TRY_DO(records->forget_terminated_before(system_clock().unix_ms() - kKeepTerminatedMs));
  CO_TRY_DO(PortRules(records->database()).sweep());
  log::info("engine.recovered",
            {{"running", boxes.size()}, {"blanks", blanks.size()}, {"cleaning", cleaning}});
  co_return ok;
}

Result<void> Core::adopt_or_end(const Row& row, const std::map<std::string, wire::BoxNote>& notes) {
  const auto& record = row.record;
  if (record.status == wire::State::terminated) {
    start_cleaning(record.id, row.base);
    return ok;
  }
  auto box = std::make_shared<Box>();
  box->record = record;
  box->plan = {.image = image_of(*this, record)};
  box->base = row.base;
  box->settled = true;
  boxes[record.id] = box;
  if (!record.name.empty()) names[record.name] = record.id;
  if (!record.rollback_to.empty()) {  // resume_rollbacks() goes on with it
    box->settled = false;
    box->record.status = wire::State::snapshotting;
    return ok;
  }
  // A word of memory only, which some other change took along to the disk.
  if (record.status == wire::State::snapshotting) box->record.status = wire::State::running;
  recover_last_use(*box);
  auto note = notes.find(record.id);
  bool ours = note != notes.end() && note->second.stage == wire::BoxStage::running;
  if (ours) box->pid = static_cast<pid_t>(note->second.pid);
  TRY(groups, sys::BoxCgroups::find(cgroups, prefix, record.id));
  if (!ours && groups) box->pid = groups->hand_pid();
  if (record.status == wire::State::pending && wait_again(box)) return ok;
  // Nobody was told of one that had not come up yet.
  if (record.status == wire::State::pending)
    return terminate(box, "Failure", "StartupFailedInternalError",
                     "the engine restarted while the sandbox was being created");
  TRY(cold, adopt_cold(box));
  if (cold) return ok;
  if (box->pid == 0)
    return terminate(box, "Failure", "Exited", "its processes were gone when the engine started");
  if (!ours) work.spawn("watch " + record.id, watch(record.id, box->pid));
  if (groups) recover_life(box, *groups);
  if (!record.file_systems.empty()) work.spawn("volumes " + record.id, regain_volumes(box));
  return ok;
}

// What belongs to no record and to no blank: left by a crash between kernel and disk.
Result<void> Core::sweep(const std::set<std::string>& known) {
  std::set<std::string> strays;
  TRY(in_kernel, sys::list_boxes(cgroups, prefix));
  strays.insert(in_kernel.begin(), in_kernel.end());
  TRY(on_disk, storage->uppers());
  strays.insert(on_disk.begin(), on_disk.end());
  TRY(sockets, names_in(path("hands")));
  for (const auto& socket : sockets) strays.insert(socket.substr(0, socket.rfind(".sock")));
  for (const auto& id : strays)
    if (!known.contains(id)) start_cleaning(id, 0);
  return ok;
}

// Boxes live on without their launcher; only how they end must be learnt another way.
Task<void> Core::regain_launcher() {
  ++launchers_lost;
  for (; !blanks.empty(); blanks.pop_front())
    start_cleaning(blanks.front().id, blanks.front().base);
  for (const auto& [id, box] : boxes)
    if (box->pid) work.spawn("watch " + id, watch(id, box->pid));
  for (const auto& [pool_id, one] : pools->all)
    for (const auto& box : one->warm)
      work.spawn("watch " + box->record.id, watch(box->record.id, box->pid));
  for (Millis pause = 100ms; !closing; pause = std::min(pause * 2, Millis(10'000))) {
    auto opened = co_await open_launcher();
    if (opened) co_return ok;
    log::error("launcher.restart", {{"error", opened.error().what}});
    CO_TRY_DO(co_await net::sleep(pause));
  }
  co_return ok;
}

Task<void> Core::watch(std::string id, pid_t pid) {
  Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Only now is it sure that the number means our process: it is in the box's group, and we hold
  // it.
  CO_TRY(groups, sys::BoxCgroups::find(cgroups, prefix, id));
  bool there = handle && groups && groups->hand_pid() == pid;
  while (there) {
    auto gone = co_await net::readable(handle.get(), 3600s);
    if (gone) break;
    if (gone.error().code != Code::timeout) co_return gone.error();
  }
  auto box = find(id);
  if (box && box->pid != pid) co_return ok;  // it was started again, and this is not about it
  wire::BoxNote note;
  note.id = id;
  note.stage = wire::BoxStage::exited;
  on_exit(note);
  co_return ok;
}

}  // namespace glovebox::engine
