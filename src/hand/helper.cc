#include "hand/helper.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "hand/child.h"
#include "sys/packet.h"
#include "sys/text.h"
#include "wire/bytes.h"

namespace glovebox::hand {
namespace {

constexpr int kSocket = 3;  // of the helper, and then of a blank

// A descriptor takes number 3 and all others from there on are closed: nothing of the hand's goes
// along.
void keep_only(int fd) {
  if (fd != kSocket) ::dup2(fd, kSocket);
  ::fcntl(kSocket, F_SETFD, FD_CLOEXEC);
  close_from(kSocket + 1);
}

void limit(int resource, std::uint64_t value) {
  rlimit present{};
  if (value == 0 || ::getrlimit(static_cast<__rlimit_resource>(resource), &present) < 0) return;
  rlim_t most = std::min<rlim_t>(present.rlim_max, value);
  rlimit wanted{most, most};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &wanted);
}

Result<void> become_tenant(const Config& config) {
  // First of all, so that nothing is ever done outside of the box's limits.
  for (const Fd& group : config.join)
    if (::write(group.get(), "0", 1) != 1) return sys_error("join the tenant's control group");
  if (!config.cpus.empty()) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    for (int cpu : config.cpus)
      if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(cpu, &cpus);
    ::sched_setaffinity(0, sizeof cpus, &cpus);
  }
  limit(RLIMIT_NOFILE, config.max_open_files);
  limit(RLIMIT_FSIZE, config.max_file_bytes);
  // Needed for the filter; and without a filter we are somebody's own machine, where sudo is theirs
  // to use.
  if ((config.is_init || !config.filter.empty()) && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return sys_error("no new privileges");
  return ok;
}

void plain_process() {
  ::setsid();
  ::umask(022);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (int null = ::open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) {
    for (int fd : {0, 1, 2}) ::dup2(null, fd);
    if (null > 2) ::close(null);
  }
  // In an out-of-memory of the whole machine the tenant goes first. (The one who made the box may
  // have said so already: a process that is not dumpable cannot write this of itself.)
  if (Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); score)
    (void)!::write(score.get(), "500", 3);
}

struct Ends {
  Fd ours, theirs;
};

Result<Ends> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("socketpair");
  Ends pair{Fd(ends[0]), Fd(ends[1])};
  ::fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}

// CLONE_PARENT: the child is the hand's own, which learns its exit and outlives us. With the group
// given here there is no moving between groups, which costs up to twenty milliseconds when it was
// not done for a while.
pid_t fork_sibling(int group) {
  if (group < 0) return static_cast<pid_t>(::syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0));
  clone_args args{};
  args.flags = CLONE_PARENT | CLONE_INTO_CGROUP;
  args.cgroup = static_cast<std::uint64_t>(group);
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

[[noreturn]] void blank_main(const Config& config, int socket) {
  keep_only(socket);
  ::setsid();
  if (!config.filter.empty()) {
    sock_fprog program{static_cast<unsigned short>(config.filter.size()),
                       const_cast<sock_filter*>(config.filter.data())};
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) ::_exit(125);
  }
  auto packet = sys::receive_packet(kSocket, kStartMessage, kStartFds);
  if (!packet || packet->bytes.empty()) ::_exit(0);  // nobody wants this blank any more
  child_main(config, kSocket, std::move(*packet));
}

}  // namespace

void close_from(int first) { ::close_range(static_cast<unsigned>(first), ~0u, 0); }

[[noreturn]] static void helper_main(const Config& config, int socket,
                                     const std::function<Result<void>()>& enter) noexcept {
  auto became = enter ? enter() : ok;
  ::prctl(PR_SET_DUMPABLE, 0);
  if (became) became = become_tenant(config);
  if (!became) {
    log::error("hand.helper", {{"error", became.error().what}});
    ::_exit(1);
  }
  keep_only(socket);
  plain_process();
  sys::Settling settling;
  for (;;) {
    auto packet = sys::receive_packet(kSocket, kHelperMessage, 2);
    if (!packet || packet->bytes.empty() || packet->fds.empty()) ::_exit(0);
    auto id = wire::Reader(packet->bytes).u64().value_or(0);
    pid_t pid = fork_sibling(packet->fds.size() > 1 ? packet->fds[1].get() : -1);
    if (pid == 0) blank_main(config, packet->fds[0].release());
    std::int64_t answer = pid > 0 ? pid : -errno;
    // Before anybody hears of the blank: its socket must have no end but its own, because the
    // closing of that is how its exec is told.
    packet->fds.clear();
    if (!sys::send_packet(kSocket, wire::Writer().u64(id).i64(answer).take(), {}, 0)) ::_exit(0);
    settling.worked();
  }
}

Result<Helper> fork_helper(const Config& config, const std::function<Result<void>()>& enter) {
  TRY(group, Group::make(config.user_cgroup.get(), "helper"));
  TRY(pair, socket_pair());
  pid_t pid;
  if (group.dir() >= 0) {
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<std::uint64_t>(group.dir());
    pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  } else {
    pid = ::fork();
  }
  if (pid < 0) return sys_error("fork the helper");
  if (pid == 0) helper_main(config, pair.theirs.get(), enter);
  group.set_leader(pid);
  return Helper{std::move(group), std::move(pair.ours), pid, {}};
}

Result<AskedBlank> ask_for_blank(const Config& config, int helper, std::uint64_t id) {
  TRY(group, Group::make(config.user_cgroup.get(), str('p', id)));
  auto pair = socket_pair();
  std::vector<int> fds;
  if (pair) {
    fds.push_back(pair->theirs.get());
    if (group.dir() >= 0) fds.push_back(group.dir());
  }
  auto sent = pair ? sys::send_packet(helper, wire::Writer().u64(id).take(), fds, MSG_DONTWAIT)
                   : Result<void>(pair.error());
  if (!sent) {
    (void)group.remove_if_empty();
    if (pair && sent.error().code != Code::exhausted) sent.error().code = Code::unavailable;
    return sent.error();
  }
  return AskedBlank{std::move(group), std::move(pair->ours)};
}

}  // namespace glovebox::hand
