// What a worker inside of a box needs from outside: its programs, and a listener that is only to be
// reached from in there.
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>

#include "base/log.h"
#include "base/random.h"
#include "engine/core.h"
#include "engine/handover.h"
#include "net/task.h"
#include "sys/inside.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlace = "/dev/glovebox";  // made by sys/box.cc

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Which builds of the programs these are.
Result<std::string> version_of(const std::vector<std::string>& programs) {
  std::string facts;
  for (const std::string& program : programs) {
    struct stat info{};
    if (::stat(program.c_str(), &info) < 0) return sys_error(program);
    facts += str(file_name(program), ' ', info.st_size, ' ', info.st_mtim.tv_sec, '.',
                 info.st_mtim.tv_nsec, '\n');
  }
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(facts.data(), facts.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex(std::span(digest).first(8));
}

// A directory with the programs and nothing else, readable by all: a box sees all of it. Its time
// is that of its last use.
Result<std::string> programs_in(const std::string& directory,
                                const std::vector<std::string>& programs) {
  TRY(version, version_of(programs), "programs for inside of boxes");
  const std::string place = str(directory, '/', version), fresh = str(place, ".", random_id(8));
  std::error_code error;
  if (::utimensat(AT_FDCWD, place.c_str(), nullptr, 0) == 0) return place;
  for (auto part : {"/bin", "/none"}) TRY_DO(sys::make_dirs(fresh + part, 0755));
  for (const std::string& program : programs) {
    TRY(bytes, sys::read_file(program, 256 << 20));
    // Synced: what is renamed below must be whole after a power cut.
    TRY_DO(sys::write_file_atomic(str(fresh, "/bin/", file_name(program)), bytes, 0755));
  }
  fs::rename(fresh, place, error);
  if (!error) return place;
  TRY_DO(sys::remove_tree(fresh));
  // Another thread was faster.
  if (fs::exists(place)) return place;
  return Error{Code::internal, str("keep ", place, ": ", error.message())};
}

// Of another version's a box may still have a view: one that was made before it was last used.
// What is left is of before an upgrade, or of a crash.
void remove_unused(const std::string& directory, std::int64_t oldest_box_ms) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    struct stat info{};
    if (::lstat(entry.path().c_str(), &info) < 0) continue;
    const std::int64_t used = info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1'000'000;
    if (used >= oldest_box_ms) continue;
    if (auto removed = sys::remove_tree(entry.path().string()); !removed)
      log::warn("inside.left_over",
                {{"name", entry.path().filename().string()}, {"error", removed.error().what}});
  }
}

struct Work {
  std::string id, programs_dir, socket;
  std::vector<std::string> programs;
  sys::CgroupRoots cgroups;
  std::string prefix;
  pid_t pid = 0;
  int port = 0;
  std::int64_t oldest_box_ms = 0;
};

Result<int> open_inside(const Work& work) {
  TRY(process, sys::open_process(work.pid), "the box's first process");
  // Only now is it sure that the number means it.
  TRY(groups, sys::BoxCgroups::find(work.cgroups, work.prefix, work.id));
  if (!groups || groups->hand_pid() != work.pid)
    return Error{Code::conflict, "the box has just ended", "SANDBOX_NOT_RUNNING"};
  TRY(programs, programs_in(work.programs_dir, work.programs));
  remove_unused(work.programs_dir, work.oldest_box_ms);
  TRY(view, sys::make_view(programs, "bin"), "view of the programs");
  TRY_DO(sys::mount_inside(process.get(), view.get(), std::string(kPlace)), "programs");
  TRY(listener, sys::listen_inside(process.get(), {.port = work.port, .type = SOCK_STREAM}));
  TRY_DO(hand_over(work.socket, "uplink " + work.id, {listener.fd.get()}), "the uplink");
  return listener.port;
}

}  // namespace

Task<Uplink> Core::open_uplink(std::string id_or_name, int port) {
  if (options.uplink_socket.empty() || options.inside_programs.empty())
    co_return Error{Code::unsupported,
                    "this engine has no uplink: it is told of one by 'glovebox up'", "NO_UPLINK"};
  CO_TRY(use, co_await hand(id_or_name));  // awake, for as long as this takes
  auto box = find(id_or_name);
  if (!box) co_return Error{Code::gone, "the sandbox has just ended", "SANDBOX_TERMINATED"};
  auto work =
      std::make_shared<Work>(Work{box->record.id, path("inside"), options.uplink_socket,
                                  options.inside_programs, cgroups, prefix, box->pid, port});
  work->oldest_box_ms = box->record.created_at;
  for (const auto& [id, other] : boxes)
    if (other->pid) work->oldest_box_ms = std::min(work->oldest_box_ms, other->record.created_at);
  auto got = std::make_shared<int>(0);
  std::function<Result<void>()> open = [work, got]() -> Result<void> {
    TRY(port, open_inside(*work));
    *got = port;
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(open)), "uplink of ", box->record.id);
  log::info("sandbox.uplink", {{"sandbox", box->record.id}, {"port", *got}});
  co_return Uplink{str("http://127.0.0.1:", *got),
                   str(kPlace, "/", file_name(options.inside_programs.front()))};
}

}  // namespace glovebox::engine
