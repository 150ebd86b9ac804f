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
// is that of its last use (collect.cc).
Result<std::string> programs_in(const std::string& directory, const std::string& version,
                                const std::vector<std::string>& programs) {
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

struct Work {
  std::string programs_dir, version, socket;
  std::vector<std::string> programs;
  std::string id;
  int port = 0;
};

Result<int> open_inside(const Work& work, const Fd& process) {
  TRY(programs, programs_in(work.programs_dir, work.version, work.programs));
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
  // What it was shown once it is shown until its processes end: noted before, so that nobody
  // collects it. Where nobody knows what that was it stays unknown: nothing is collected then.
  std::string version = box->record.inside_version;
  if (version.empty() || version == kUnknown) {
    CO_TRY(present, version_of(options.inside_programs), "programs for inside of boxes");
    version = std::move(present);
  }
  if (box->record.inside_version.empty()) {
    wire::SandboxRecord record = box->record;
    record.inside_version = version;
    CO_TRY_DO(records->save(record), "note");
    box->record = std::move(record);
  }
  auto work = std::make_shared<Work>(Work{path("inside"), version, options.uplink_socket,
                                          options.inside_programs, box->record.id, port});
  auto got = std::make_shared<int>(0);
  std::function<Result<void>()> open = [this, work, got, pid = box->pid]() -> Result<void> {
    TRY(process, first_process(work->id, pid));
    TRY(port, open_inside(*work, process));
    *got = port;
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(open)), "uplink of ", work->id);
  log::info("sandbox.uplink", {{"sandbox", work->id}, {"port", *got}});
  co_return Uplink{str("http://127.0.0.1:", *got),
                   str(kPlace, "/", file_name(options.inside_programs.front()))};
}

}  // namespace glovebox::engine
