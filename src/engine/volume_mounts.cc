// Volumes in boxes. The record says which ones a box has; the kernel follows. They are mounted once
// the box's first process runs and before anything else does, so that a box that was made ahead
// gets its volumes as well as one that runs for long.

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "engine/core.h"
#include "net/task.h"
#include "sys/inside.h"
#include "sys/inside_mount.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMostVolumes = 16;

Error wrong_state(const wire::SandboxRecord& record) {
  return {Code::invalid,
          str("sandbox ", record.id, " is ", record.status, ": its volumes cannot be changed"),
          record.status == wire::State::terminated ? "SANDBOX_TERMINATED" : "WRONG_STATE"};
}

}  // namespace

std::vector<std::optional<sys::MountedInside>> mounts_for(
    const std::vector<wire::FileSystem>& noted, std::vector<sys::MountedInside> mounts) {
  std::vector<std::optional<sys::MountedInside>> found(noted.size());
  for (const bool as_said : {true, false})
    for (std::size_t i = 0; i < noted.size(); ++i) {
      if (found[i]) continue;
      auto mount = std::ranges::find_if(mounts, [&](const auto& one) {
        return one.root.ends_with("/volumes/" + noted[i].id) &&
               (!as_said || one.place == noted[i].mount_path);
      });
      if (mount == mounts.end()) continue;
      found[i] = std::move(*mount);
      mounts.erase(mount);
    }
  return found;
}

Result<Fd> Core::first_process(const std::string& id, pid_t pid) const {
  TRY(process, sys::open_process(pid), "the sandbox's first process");
  // Only now is it sure that the number means it.
  TRY(groups, sys::BoxCgroups::find(cgroups, prefix, id));
  if (!groups || groups->hand_pid() != pid)
    return Error{Code::gone, "the sandbox has ended", "SANDBOX_TERMINATED"};
  return std::move(process);
}

Task<void> Core::mount_volumes(std::shared_ptr<Box> box, std::vector<wire::FileSystem> wanted) {
  if (wanted.empty()) co_return ok;
  std::vector<sys::InsideMount> mounts;
  for (const auto& fs : wanted)
    mounts.push_back({path("pool/volumes/" + fs.id), fs.mount_path, fs.read_only});
  std::function<Result<void>()> mount = [this, id = box->record.id, pid = box->pid,
                                         base = box->base, mounts]() -> Result<void> {
    TRY(process, first_process(id, pid));
    TRY(ids, sys::ids_of(pid, process.get()));
    return sys::mount_in_box(process.get(), ids.get(), base, mounts);
  };
  CO_TRY_DO(co_await pool.run(std::move(mount)), "volumes");
  co_return ok;
}

Task<wire::SandboxRecord> Core::attach_volume(std::string id_or_name, wire::FileSystem wanted) {
  CO_TRY(box, known(id_or_name));
  CO_TRY(moving, co_await turn_at(box));
  if (box->record.status != wire::State::running && box->record.status != wire::State::suspended)
    co_return wrong_state(box->record);
  wire::SandboxRecord record = box->record;
  if (record.file_systems.size() >= kMostVolumes)
    co_return Error{Code::invalid, str("a sandbox has at most ", kMostVolumes, " volumes")};
  record.file_systems.push_back(std::move(wanted));
  CO_TRY(checked, volumes->check(record.file_systems, !box->plan.image->usr_mask.empty()));
  record.file_systems = std::move(checked);
  const wire::FileSystem added = record.file_systems.back();
  CO_TRY_DO(records->save(record), "note");
  box->record = std::move(record);
  CO_FAULT("volume.attach.after_row");
  // What has no processes gets it with them.
  auto mounted =
      box->record.tier == kCold ? Result<void>(ok) : co_await mount_volumes(box, {added});
  if (!mounted) {
    wire::SandboxRecord without = box->record;
    std::erase(without.file_systems, added);
    CO_TRY_DO(records->save(without), "note that it is not there");
    box->record = std::move(without);
    co_return std::move(mounted.error()).with("attach");
  }
  CO_FAULT("volume.attach.after_mount");
  if (!box->record.name.empty()) CO_TRY_DO(co_await synced());
  log::info("volume.attached", {{"sandbox", box->record.id}, {"volume", added.id}});
  co_return box->record;
}

// The kernel first: of a crash between the two it is mounted again, and nobody was told that it is
// gone.
Task<wire::SandboxRecord> Core::detach_volume(std::string id_or_name, std::string mount_path) {
  CO_TRY(box, known(id_or_name));
  CO_TRY(moving, co_await turn_at(box));
  if (box->record.status != wire::State::running && box->record.status != wire::State::suspended)
    co_return wrong_state(box->record);
  CO_TRY(place, Volumes::clean(mount_path));
  auto found = std::ranges::find(box->record.file_systems, place, &wire::FileSystem::mount_path);
  if (found == box->record.file_systems.end())
    co_return Error{Code::not_found,
                    str("sandbox ", box->record.id, " has no volume at ", valid_utf8(place)),
                    "FILE_SYSTEM_NOT_FOUND"};
  const wire::FileSystem gone = *found;
  const auto which = static_cast<std::size_t>(found - box->record.file_systems.begin());
  if (box->record.tier != kCold) {
    std::function<Result<void>()> unmount = [this, id = box->record.id, pid = box->pid, which,
                                             noted = box->record.file_systems]() -> Result<void> {
      TRY(process, first_process(id, pid));
      TRY(mounts, sys::mounts_of(pid));
      auto mount = mounts_for(noted, std::move(mounts))[which];
      return mount ? sys::unmount_in_box(process.get(), *mount) : ok;
    };
    CO_TRY_DO(co_await pool.run(std::move(unmount)), "detach");
  }
  CO_FAULT("volume.detach.after_unmount");
  wire::SandboxRecord record = box->record;
  std::erase(record.file_systems, gone);
  CO_TRY_DO(records->save(record), "note");
  box->record = std::move(record);
  CO_FAULT("volume.detach.after_row");
  if (!box->record.name.empty()) CO_TRY_DO(co_await synced());
  log::info("volume.detached", {{"sandbox", box->record.id}, {"volume", gone.id}});
  co_return box->record;
}

// Of an engine that was killed between the note and the mount.
Task<void> Core::regain_volumes(std::shared_ptr<Box> box) {
  CO_TRY(moving, co_await turn_at(box));
  if (box->pid == 0 || box->record.status == wire::State::terminated) co_return ok;
  auto missing = std::make_shared<std::vector<wire::FileSystem>>();
  std::function<Result<void>()> look = [this, missing, id = box->record.id, pid = box->pid,
                                        noted = box->record.file_systems]() -> Result<void> {
    TRY_DO(first_process(id, pid));
    TRY(mounts, sys::mounts_of(pid));
    auto found = mounts_for(noted, std::move(mounts));
    for (std::size_t i = 0; i < noted.size(); ++i)
      if (!found[i]) missing->push_back(noted[i]);
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(look)));
  for (const auto& fs : *missing)
    log::warn("volume.mounted_again", {{"sandbox", box->record.id}, {"volume", fs.id}});
  co_return co_await mount_volumes(box, *missing);
}

}  // namespace glovebox::engine
