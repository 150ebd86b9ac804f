#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "hand/child.h"
#include "hand/helper.h"

namespace glovebox::hand {
namespace {

constexpr std::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<char*> pointers(const std::vector<std::string>& list) {
  std::vector<char*> out;
  for (const auto& item : list) out.push_back(const_cast<char*>(item.c_str()));
  out.push_back(nullptr);
  return out;
}

// One place to look at. Returns the errno.
int try_exec(const std::string& path, const std::vector<std::string>& argv, char** env) {
  auto args = pointers(argv);
  ::execve(path.c_str(), args.data(), env);
  if (errno != ENOEXEC) return errno;
  // A script without a first line that names its interpreter: the shell's, as everywhere.
  std::vector<std::string> script{"/bin/sh", path};
  script.insert(script.end(), argv.begin() + 1, argv.end());
  args = pointers(script);
  ::execve("/bin/sh", args.data(), env);
  return ENOEXEC;
}

Error exec_error(const std::string& name, int number) {
  if (number == ENOENT || number == ENOTDIR)
    return Error{Code::not_found, str(name, ": no such command (or its interpreter is missing)"),
                 "COMMAND_NOT_FOUND"};
  if (number == EACCES || number == EISDIR || number == ENOEXEC || number == EPERM)
    return Error{Code::invalid, str(name, ": cannot be run (", errno_name(number), ")"),
                 "COMMAND_NOT_EXECUTABLE"};
  Error error = sys_error(str("run ", name), number);
  if (number == E2BIG) error.code = Code::too_large;
  return error;
}

}  // namespace

Error exec_program(const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  auto environment = pointers(env);
  const std::string& name = argv[0];
  if (name.find('/') != name.npos)
    return exec_error(name, try_exec(name, argv, environment.data()));
  std::string path(kDefaultPath);
  for (const auto& entry : env)
    if (entry.starts_with("PATH=")) path = entry.substr(5);
  int worst = ENOENT;
  for (const auto& dir : split(path, ':')) {
    int number = try_exec(str(dir.empty() ? "." : dir, '/', name), argv, environment.data());
    if (number == ENOENT || number == ENOTDIR) continue;
    // Somewhere else there may be one that can be run.
    if (number != EACCES) return exec_error(name, number);
    worst = number;
  }
  return exec_error(name, worst);
}

Result<void> open_terminal(int socket, const wire::StartSpec& spec, const Identity& identity) {
  Fd master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master) return sys_error("/dev/ptmx");
  int unlocked = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &unlocked) < 0) return sys_error("unlock terminal");
  Fd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return sys_error("open terminal");
  winsize size{};
  size.ws_row = static_cast<unsigned short>(spec.rows);
  size.ws_col = static_cast<unsigned short>(spec.cols);
  if (::ioctl(slave.get(), TIOCSWINSZ, &size) < 0) return sys_error("size of terminal");
  // So that the program may open its terminal by name, too.
  if (identity.switches && ::fchown(slave.get(), identity.uid, static_cast<gid_t>(-1)) < 0)
    return sys_error("owner of terminal");
  if (::ioctl(slave.get(), TIOCSCTTY, 0) < 0) return sys_error("controlling terminal");
  for (int fd : {0, 1, 2})
    if (::dup2(slave.get(), fd) < 0) return sys_error("dup2");
  TRY_DO(sys::send_packet(socket, std::string(1, kReady), {master.get()}, 0), "hand over");
  return ok;
}

}  // namespace glovebox::hand
