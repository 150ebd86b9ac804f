#include "hand/launcher_box.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <optional>

#include "hand/hand.h"
#include "hand/helper.h"
#include "sys/box.h"
#include "sys/mount.h"
#include "sys/packet.h"

namespace glovebox::hand {

namespace {

constexpr std::uint64_t kOpenFiles =
    65536;  // of the tenant; what the machine allows, if that is less

std::uint32_t whole_cpus(std::uint32_t cpu_millis) {
  return std::max(1u, (cpu_millis + 999) / 1000);
}

sys::BoxSize size_of(const wire::BoxLimits& limits) {
  return {static_cast<std::int64_t>(limits.memory_bytes), whole_cpus(limits.cpu_millis)};
}

// As many processors as the box may use, so that programs which count them start the right number
// of threads. Which ones differs from box to box, or all small boxes would share the first.
std::vector<int> choose_cpus(std::uint32_t count, std::uint32_t base) {
  cpu_set_t all;
  if (::sched_getaffinity(0, sizeof all, &all) < 0) return {};
  std::vector<int> there, chosen;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &all)) there.push_back(cpu);
  if (count >= there.size()) return {};
  for (std::uint32_t i = 0; i < count; ++i)
    chosen.push_back(there[(base / sys::kIdsPerBox + i) % there.size()]);
  return chosen;
}

void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (int fd : kept) {
    if (static_cast<unsigned>(fd) > from) ::close_range(from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(from, ~0u, 0);
}

// When the whole machine runs out of memory a box goes before the host's services. Best effort:
// some hosts forbid it. Written here, because later this process is not dumpable and cannot open
// the file.
void raise_oom_score() {
  Fd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  [[maybe_unused]] auto written = ::write(score.get(), "500", 3);
}

// The engine put these two files there with the id as the name. From inside, where a hostile image
// can only mislead itself; files that a snapshot's tenant had removed or replaced stay away, and
// what says it already is not written again: there may be no room.
Result<void> write_names(const std::string& hostname) {
  for (auto [path, text] :
       {std::pair{"/etc/hostname", hostname + "\n"}, {"/etc/hosts", wire::hosts_file(hostname)}}) {
    Fd file(::open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) continue;
    if (!file) return sys_error(str("open ", path));
    std::string there(text.size() + 1, '\0');
    const ssize_t length = ::pread(file.get(), there.data(), there.size(), 0);
    if (length >= 0 && std::string_view(there).substr(0, static_cast<std::size_t>(length)) == text)
      continue;
    if (::ftruncate(file.get(), 0) < 0 || ::write(file.get(), text.data(), text.size()) < 0)
      return sys_error(str("write ", path));
  }
  return ok;
}

void set_terms(Config& config, wire::BoxTerms terms, std::uint32_t base) {
  config.env = std::move(terms.env);
  config.cwd = std::move(terms.cwd);
  config.user = std::move(terms.user);
  config.cpus = choose_cpus(whole_cpus(terms.limits.cpu_millis), base);
  config.max_open_files = kOpenFiles;
  config.max_file_bytes = terms.max_file_bytes;
}

// What a helper cannot be told any more. (The other limits are its control group's.)
bool same_for_helper(const wire::BoxTerms& a, const wire::BoxTerms& b) {
  return a.env == b.env && a.cwd == b.cwd && a.user == b.user &&
         a.max_file_bytes == b.max_file_bytes &&
         whole_cpus(a.limits.cpu_millis) == whole_cpus(b.limits.cpu_millis);
}

// From here on this is the box's first process. What it returns is its exit code.
Result<int> become_box(const wire::PrepareBox& prepared, const std::string& usr_view,
                       const sys::Namespaces& namespaces, const sys::BoxCgroups& groups,
                       std::vector<sock_filter> filter, Fd& gate) {
  Config config;
  // A copy of the mount: a plain directory descriptor would be a way up, out of the box's own
  // group.
  TRY(user_dir, groups.user_dir());
  TRY(user_cgroup, sys::clone_mount(user_dir.get(), ""), "group of the tenant");
  config.user_cgroup = std::move(user_cgroup);
  TRY(join, groups.join_fds());
  config.join = std::move(join);
  TRY(oom_events, groups.oom_events());
  config.oom_events = std::move(oom_events);
  config.filter = std::move(filter);
  raise_oom_score();
  sys::StagePlan stage{prepared.base, "/state/" + prepared.image_root, "/state/" + prepared.box_dir,
                       usr_view, size_of(prepared.terms.limits)};
  TRY(box, sys::stage_box(stage, namespaces));
  // Ahead, because joining version 1 control groups may take as long as all the rest. It enters the
  // box now; what asks for the host's privileges is still to be done here.
  set_terms(config, prepared.terms, prepared.base);
  std::function<Result<void>()> enter = [&] { return sys::follow_into_box(namespaces); };
  ::setfsgid(prepared.base);  // its control groups are to be the box's, like those that follow
  ::setfsuid(prepared.base);
  TRY(helper, fork_helper(config, enter), "helper");
  TRY(first, ask_for_blank(config, helper.socket.get(), kFirstBlank), "first process");
  ::setfsuid(0);
  ::setfsgid(0);
  helper.first = std::move(first);

  TRY(packet, sys::receive_packet(gate.get(), wire::kLauncherMessage, 1));
  if (packet.bytes.empty()) return 0;  // nobody wants this blank any more
  TRY(plan, wire::decode_launch(packet.bytes));
  if (packet.fds.size() != 1) return Error{Code::invalid, "a launch brings the hand's socket"};
  config.listener = std::move(packet.fds[0]);
  std::optional<Helper> ahead = std::move(helper);
  if (!same_for_helper(plan.terms, prepared.terms)) ahead.reset();  // it goes by itself
  TRY_DO(sys::enter_box(std::move(box), size_of(plan.terms.limits), plan.hostname, namespaces));
  set_terms(config, std::move(plan.terms), prepared.base);
  if (plan.hostname != plan.id) TRY_DO(write_names(plan.hostname));
  TRY_DO(sys::send_packet(gate.get(), "running", {}, 0), "tell the launcher");
  gate.reset();
  return serve(std::move(config), std::move(ahead));
}

}  // namespace

Result<void> BoxMaker::set_limits(const std::string& id, const wire::BoxLimits& limits) {
  TRY(groups, sys::BoxCgroups::find(roots_, prefix_, id));
  if (!groups) return Error{Code::not_found, "the control groups are gone"};
  return groups->set_limits({limits.cpu_millis / 1000.0,
                             static_cast<std::int64_t>(limits.memory_bytes),
                             static_cast<std::int64_t>(limits.pids)});
}

Result<BoxMaker::Blank> BoxMaker::make_blank(const wire::PrepareBox& plan) {
  TRY(groups, sys::BoxCgroups::make(roots_, prefix_, plan.id, plan.base), "control groups");
  auto view = usr_view(plan.usr_mask);
  auto blank = view ? start_child(plan, *view, groups) : Result<Blank>(view.error());
  if (!blank) (void)groups.remove();
  return blank;
}

Result<std::string> BoxMaker::usr_view(const std::string& mask) {
  if (mask.empty()) return std::string();
  auto made = usr_views_.find(mask);
  if (made != usr_views_.end()) return made->second;
  std::string place = str("/views/", usr_views_.size());
  TRY_DO(sys::make_usr_view("/state/" + mask, place), "view of /usr");
  return usr_views_[mask] = place;
}

Result<BoxMaker::Blank> BoxMaker::start_child(const wire::PrepareBox& plan, const std::string& view,
                                              const sys::BoxCgroups& groups) {
  // Hand and tenant are to see the box's group as the root of all: where namespaces are the limits
  // of delegation (systemd mounts with nsdelegate) nobody starts a process in a group outside of
  // what he sees. And whoever makes a namespace is in its root: here, as long as that may be.
  TRY(box_group, groups.box_dir());
  TRY(namespaces, sys::make_namespaces(plan.base, box_group.get()));
  TRY_DO(set_limits(plan.id, plan.terms.limits));
  TRY(hand_group, groups.hand_dir());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return sys_error("socketpair");
  Fd ours(ends[0]), theirs(ends[1]);
  clone_args args{};
  args.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<std::uint64_t>(hand_group.get());
  // Born in the box's network: its link may be made ahead too, and whoever makes it finds the
  // network by this process.
  Fd home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home || ::setns(namespaces.net.get(), CLONE_NEWNET) < 0)
    return sys_error("enter the box's network");
  auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  const int clone_error = errno;
  // One that stayed would make the next boxes in this one's network.
  if (pid != 0 && ::setns(home.get(), CLONE_NEWNET) < 0) std::abort();
  if (pid < 0) return sys_error("clone", clone_error);
  if (pid > 0) return Blank{pid, std::move(ours)};

  ::setsid();
  // Nothing of the launcher and of other boxes: of all descriptors only these go on.
  close_all_but({theirs.get(), namespaces.user.get(), namespaces.net.get(), namespaces.ipc.get(),
                 namespaces.uts.get(), namespaces.cgroup.get()});
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  // A copy of the launcher shows the launcher's command line, and inside no word of the host may
  // stand.
  std::ranges::fill(command_line_, '\0');
  std::string_view name = "glovebox-hand";
  std::copy_n(name.data(), std::min(name.size(), command_line_.size()), command_line_.data());
  ::prctl(PR_SET_NAME, "glovebox-hand");
  auto ended = become_box(plan, view, namespaces, groups, std::move(filter_), theirs);
  if (ended) ::_exit(*ended);
  (void)sys::send_packet(theirs.get(), ended.error().what, {}, 0);
  ::_exit(1);
}

}  // namespace glovebox::hand
