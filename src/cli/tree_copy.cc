#include "cli/tree_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/fd.h"
#include "cli/args.h"
#include "cli/attach.h"
#include "cli/blocked_signals.h"
#include "cli/exec_request.h"
#include "cli/tree_archive.h"

namespace glovebox::cli {

namespace {

// As cp does it: into a directory that is there, as one that is not.
constexpr const char* kUnpackScript =
    "d=$1; if [ -d \"$d\" ] || [ \"$3\" = into ]; then d=${d%/}/$2; fi; "
    "command -v tar >/dev/null || { echo 'the image has no tar' >&2; exit 127; }; "
    "mkdir -p -- \"$d\" && exec tar -C \"$d\" -xpf -";
constexpr const char* kPackScript =
    "command -v tar >/dev/null || { echo 'the image has no tar' >&2; exit 127; }; "
    "cd -- \"$1\" && exec tar -cf - .";

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return sys_error("pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<void> check_end(const Result<Exited>& exited) {
  if (!exited) return exited.error();
  if (exited->shell_code() != 0)
    return Error{Code::internal, str("in the sandbox it failed with exit code ",
                                     exited->shell_code(), "; see above")};
  return ok;
}

std::string name_of(const std::string& path) {
  std::string name =
      base_name(path.size() > 1 && path.ends_with('/') ? path.substr(0, path.size() - 1) : path);
  return name.empty() || name == "." || name == ".." ? "tree" : name;
}

}  // namespace

Result<void> copy_tree_in(EngineClient& engine, const CopyEnd& from, const CopyEnd& to) {
  std::error_code wrong;
  const std::string dir = std::filesystem::canonical(from.path, wrong).string();
  if (wrong) return sys_error(from.path, wrong.value());
  ExecRequest request;
  request.command = {"/bin/sh",
                     "-c",
                     kUnpackScript,
                     "sh",
                     to.path,
                     name_of(dir),
                     to.path.ends_with('/') ? "into" : "as"};
  request.log = false;
  TRY(hello, encode(request));
  TRY(pipe, make_pipe());
  BlockedSignals blocked({});  // a pipe that is not read to its end is an error, and no signal
  std::optional<Result<void>> packed;
  std::thread packer([&] {
    packed = pack_tree(dir, pipe.write.get());
    pipe.write.reset();  // the end of the stream
  });
  Meter meter("copy " + from.path, 0);
  auto exited =
      attach(engine, to.box,
             {.hello = hello, .forward_stdin = true, .stdin_fd = pipe.read.get(), .meter = &meter});
  meter.end();
  pipe.read.reset();  // if it was not read to its end, the packer learns it now
  packer.join();
  TRY_DO(check_end(exited));
  return *packed;
}

Result<void> copy_tree_out(EngineClient& engine, const CopyEnd& from, const CopyEnd& to,
                           Output& out, Onto onto) {
  if (to.is_stream()) return usage_error("a directory does not go to stdout: use exec with tar");
  std::string dir = to.path;
  struct stat there{};
  if (onto == Onto::below && ::stat(dir.c_str(), &there) == 0 && S_ISDIR(there.st_mode))
    dir += "/" + name_of(from.path);
  std::error_code wrong;
  std::filesystem::create_directories(dir, wrong);
  if (wrong) return sys_error(str("make ", dir), wrong.value());
  ExecRequest request;
  request.command = {"/bin/sh", "-c", kPackScript, "sh", from.path};
  request.stdin_open = false;
  request.log = false;
  TRY(hello, encode(request));
  TRY(pipe, make_pipe());
  std::optional<Result<Unpacked>> unpacked;
  const Links links = onto == Onto::merged ? Links::downwards : Links::all;
  std::thread unpacker([&] { unpacked = unpack_tree(pipe.read.get(), dir, links); });
  Meter meter("copy " + from.path, 0);
  auto exited = attach(
      engine, from.box,
      {.hello = hello, .forward_stdin = false, .stdout_fd = pipe.write.get(), .meter = &meter});
  meter.end();
  pipe.write.reset();
  unpacker.join();
  TRY_DO(check_end(exited));
  if (!*unpacked) return std::move(unpacked->error());
  if ((*unpacked)->left_out > 0)
    out.note(str(
        "glovebox: ", (*unpacked)->left_out,
        " entries were left out: devices, pipes, sockets, or names and links that lead outside"));
  return ok;
}

}  // namespace glovebox::cli
