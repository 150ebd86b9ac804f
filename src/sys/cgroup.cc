#include "sys/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <set>

#include "sys/tree.h"

namespace glovebox::sys {

namespace {

constexpr const char* kControllers[] = {"memory", "pids", "cpu"};
constexpr std::size_t kMaxControlFile = 1 << 20;  // cgroup.procs of a full box is the longest
// Of the tenant's processes: the helper and the shell the hand keeps there are not counted against
// the tenant.
constexpr std::int64_t kPidsReserve = 4;
// The hand makes one group per call, directly below `user`.
constexpr const char* kMaxGroups = "4096";
constexpr const char* kMaxDepth = "1";
constexpr std::int64_t kReclaimStep = 64 << 20;
constexpr int kMaxRemoveDepth = 8;  // ours are three deep
constexpr std::int64_t kCpuPeriodUs = 100'000;

using Dir = std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })>;

Result<void> write_control(const std::string& path, std::string_view value) {
  Fd file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file) return sys_error(str("open ", path));
  if (::write(file.get(), value.data(), value.size()) < 0)
    return sys_error(str("write \"", value, "\" to ", path));
  return ok;
}

Result<std::string> read_control(const std::string& path) {
  return read_file(path, kMaxControlFile);
}

// The number after `key` in lines of "key number".
std::int64_t value_of(std::string_view text, std::string_view key) {
  for (const std::string& line : split(text, '\n')) {
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ')
      return parse_int<std::int64_t>(trim(std::string_view(line).substr(key.size()))).value_or(0);
  }
  return 0;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Result<void> make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return ok;
  return sys_error(str("make group ", path));
}

Result<void> give(const std::string& path, uid_t owner) {
  if (::chown(path.c_str(), owner, owner) == 0) return ok;
  return sys_error(str("give ", path, " to user ", owner));
}

Result<Fd> open_control(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd) return sys_error(str("open ", path));
  return fd;
}

// Names of the groups below `path`; none if it is gone.
Result<std::vector<std::string>> groups_below(const std::string& path) {
  std::vector<std::string> names;
  Dir dir(::opendir(path.c_str()));
  if (!dir && errno == ENOENT) return names;
  if (!dir) return sys_error(str("list ", path));
  while (dirent* entry = ::readdir(dir.get()))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  return names;
}

Result<void> remove_groups(const std::string& path, int depth = 0) {
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return ok;
  if (errno != EBUSY || depth == kMaxRemoveDepth) return sys_error(str("remove group ", path));
  TRY(below, groups_below(path));  // EBUSY: groups below it, or processes in it
  for (const std::string& name : below) TRY_DO(remove_groups(str(path, "/", name), depth + 1));
  if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return ok;
  return sys_error(str("remove group ", path));
}

Result<void> add_processes(const std::string& path, std::vector<pid_t>& pids) {
  auto text = read_control(path + "/cgroup.procs");
  if (!text && text.error().code == Code::not_found) return ok;  // gone while we look
  if (!text) return std::move(text.error());
  for (const std::string& line : split(*text, '\n'))
    if (auto pid = parse_int<pid_t>(line); pid && *pid > 0)
      pids.push_back(*pid);  // 0: not of our pid namespace
  TRY(below, groups_below(path));
  for (const std::string& name : below) TRY_DO(add_processes(str(path, "/", name), pids));
  return ok;
}

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  auto digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_word(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string CgroupRoots::* v1_root(std::string_view controller) {
  if (controller == "memory") return &CgroupRoots::memory;
  return controller == "pids" ? &CgroupRoots::pids : &CgroupRoots::cpu;
}

// The mount points of all hierarchies boxes have groups in.
std::vector<std::string> hierarchies(const CgroupRoots& roots) {
  std::vector<std::string> all{roots.unified};
  for (const std::string* root : {&roots.memory, &roots.pids, &roots.cpu})
    if (!root->empty() && !has_word(all, *root))
      all.push_back(*root);  // cpu and another may share one
  return all;
}

// A process that was just reaped counts until the kernel has switched away from it (from 6.19 on):
// EBUSY for a moment.
Result<void> write_once_empty(const std::string& path, std::string_view value) {
  for (int tries = 100;; --tries) {
    auto written = write_control(path, value);
    if (written || written.error().tag != "EBUSY" || tries == 0) return written;
    ::usleep(1000);
  }
}

Result<void> enable_controllers(const CgroupRoots& roots, const std::string& group) {
  for (const char* controller : kControllers) {
    if (has_word(roots.missing, controller)) continue;
    TRY_DO(write_once_empty(group + "/cgroup.subtree_control", str("+", controller)), "hand the ",
           controller, " controller down from ", group);
  }
  return ok;
}

}  // namespace

std::string_view name(CgroupLayout layout) {
  switch (layout) {
    case CgroupLayout::v2: return "v2";
    case CgroupLayout::hybrid: return "hybrid";
  }
  return "unknown";
}

Result<CgroupRoots> find_cgroups(const std::string& mountinfo) {
  TRY(mounts, read_file(mountinfo, 16 << 20), "find the control groups");
  CgroupRoots roots;
  for (const std::string& line : split(mounts, '\n')) {
    // 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
    auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    auto left = split(std::string_view(line).substr(0, dash), ' ');
    auto right = split(std::string_view(line).substr(dash + 3), ' ');
    if (left.size() < 6 || right.size() < 3) continue;
    std::string at = unescape(left[4]);
    if (right[0] == "cgroup2" && roots.unified.empty()) roots.unified = at;
    if (right[0] != "cgroup") continue;
    auto options = split(right[2], ',');
    for (const char* controller : kControllers) {
      std::string& root = roots.*v1_root(controller);
      if (root.empty() && has_word(options, controller)) root = at;
    }
  }
  if (roots.unified.empty())
    return Error{Code::unsupported,
                 "no version 2 control groups are mounted: mount -t cgroup2 none /sys/fs/cgroup"};

  bool any_v1 = !roots.memory.empty() || !roots.pids.empty() || !roots.cpu.empty();
  roots.layout = any_v1 ? CgroupLayout::hybrid : CgroupLayout::v2;
  std::vector<std::string> offered;
  if (!any_v1) {
    TRY(controllers, read_control(roots.unified + "/cgroup.controllers"),
        "controllers of version 2");
    offered = split(trim(controllers), ' ');
  }
  for (const char* controller : kControllers) {
    bool there = any_v1 ? !(roots.*v1_root(controller)).empty() : has_word(offered, controller);
    if (!there) roots.missing.push_back(controller);
  }
  return roots;
}

Result<void> prepare(const CgroupRoots& roots, const std::string& prefix) {
  for (const std::string& root : hierarchies(roots)) {
    std::string group = str(root, "/", prefix);
    if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST)
      return sys_error(str("make group ", group));
  }
  if (roots.layout == CgroupLayout::hybrid) return ok;
  TRY_DO(enable_controllers(roots, roots.unified));
  return enable_controllers(roots, str(roots.unified, "/", prefix));
}

Result<std::vector<std::string>> list_boxes(const CgroupRoots& roots, const std::string& prefix) {
  std::set<std::string> names;
  for (const std::string& root : hierarchies(roots)) {
    TRY(below, groups_below(str(root, "/", prefix)));
    names.insert(below.begin(), below.end());
  }
  return std::vector<std::string>(names.begin(), names.end());
}

Result<void> remove_prefix(const CgroupRoots& roots, const std::string& prefix) {
  for (const std::string& root : hierarchies(roots)) {
    std::string group = str(root, "/", prefix);
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT)
      return sys_error(str("remove group ", group));
  }
  return ok;
}

std::vector<ControlWrite> limit_writes(CgroupLayout layout, const BoxLimits& limits,
                                       std::int64_t memory_now) {
  bool v2 = layout == CgroupLayout::v2;
  std::string none = v2 ? "max" : "-1";
  std::string memory = limits.memory_bytes > 0 ? str(limits.memory_bytes) : none;
  std::string pids = limits.pids > 0 ? str(limits.pids + kPidsReserve) : "max";
  std::int64_t quota_us =
      std::max<std::int64_t>(1000, std::llround(limits.cpus * kCpuPeriodUs));  // the kernel's least
  std::string cpu = limits.cpus > 0 ? str(quota_us) : none;

  std::vector<ControlWrite> writes;
  if (v2) {
    writes.push_back({"memory", "memory.max", memory});
    // As much again where there is swap, so that a suspended box can be pushed out whole.
    writes.push_back({"memory", "memory.swap.max", memory, true});
    writes.push_back({"pids", "pids.max", pids});
    writes.push_back({"cpu", "cpu.max", str(cpu, " ", kCpuPeriodUs)});
    return writes;
  }
  // memsw counts memory and swap together and may at no moment be the smaller one.
  writes.push_back({"memory", "memory.limit_in_bytes", memory});
  bool raised = memory_now > 0 && (limits.memory_bytes <= 0 || limits.memory_bytes > memory_now);
  writes.insert(raised ? writes.begin() : writes.end(),
                {"memory", "memory.memsw.limit_in_bytes", memory, true});
  writes.push_back({"pids", "pids.max", pids});
  writes.push_back({"cpu", "cpu.cfs_period_us", str(kCpuPeriodUs)});
  writes.push_back({"cpu", "cpu.cfs_quota_us", cpu});
  return writes;
}

std::string BoxCgroups::unified(std::string_view below) const {
  return str(roots_.unified, path_, below);
}

std::string BoxCgroups::limits_dir(const std::string& controller) const {
  if (has_word(roots_.missing, controller)) return "";
  if (roots_.layout == CgroupLayout::v2) return unified("/user");
  return roots_.*v1_root(controller) + path_;
}

Result<BoxCgroups> BoxCgroups::make(const CgroupRoots& roots, const std::string& prefix,
                                    const std::string& box, uid_t base) {
  BoxCgroups groups(roots, str("/", prefix, "/", box));
  for (const std::string& root : hierarchies(roots))
    if (exists(root + groups.path_))
      return Error{Code::conflict, str("box ", box, " has control groups already")};
  auto made = [&]() -> Result<void> {
    TRY_DO(make_group(groups.unified()));
    TRY_DO(make_group(groups.unified("/hand")));
    TRY_DO(make_group(groups.unified("/user")));
    for (const std::string& root : hierarchies(roots))
      if (root != roots.unified) TRY_DO(make_group(root + groups.path_));
    // Enough for a box that makes a group per call, and no way to fill the kernel with groups.
    TRY_DO(write_control(groups.unified("/user/cgroup.max.descendants"), kMaxGroups));
    TRY_DO(write_control(groups.unified("/user/cgroup.max.depth"), kMaxDepth));
    // What starting a process in another group asks for: write permission to the target's
    // cgroup.procs and to that of the nearest common ancestor. The hand goes from `hand` to `user`
    // (ancestor: the box), its helper from `user` to below it.
    TRY_DO(give(groups.unified("/cgroup.procs"), base));
    TRY_DO(give(groups.unified("/user"), base));
    return give(groups.unified("/user/cgroup.procs"), base);
  }();
  if (made) return groups;
  (void)groups.remove();  // what is left is found by list_boxes
  return std::move(made.error()).with(str("control groups of ", box));
}

Result<std::optional<BoxCgroups>> BoxCgroups::find(const CgroupRoots& roots,
                                                   const std::string& prefix,
                                                   const std::string& box) {
  BoxCgroups groups(roots, str("/", prefix, "/", box));
  for (const std::string& root : hierarchies(roots))
    if (exists(root + groups.path_)) return std::optional<BoxCgroups>(std::move(groups));
  return std::optional<BoxCgroups>();
}

Result<void> BoxCgroups::set_limits(const BoxLimits& limits) {
  if (roots_.layout == CgroupLayout::v2) TRY_DO(enable_controllers(roots_, unified()));
  std::int64_t memory_now = 0;
  if (std::string dir = limits_dir("memory"); !dir.empty()) {
    bool v2 = roots_.layout == CgroupLayout::v2;
    TRY(text, read_control(dir + (v2 ? "/memory.max" : "/memory.limit_in_bytes")),
        "present memory limit");
    memory_now = parse_int<std::int64_t>(trim(text)).value_or(0);  // "max"
    if (memory_now >= (std::int64_t{1} << 60)) memory_now = 0;     // version 1's way to say so
  }
  for (const ControlWrite& write : limit_writes(roots_.layout, limits, memory_now)) {
    std::string dir = limits_dir(write.controller);
    if (dir.empty()) continue;
    std::string file = str(dir, "/", write.file);
    if (write.optional && !exists(file)) continue;
    TRY_DO(write_control(file, write.value), "limit ", write.controller);
  }
  return ok;
}

Result<Fd> BoxCgroups::box_dir() const { return open_control(unified(), O_RDONLY | O_DIRECTORY); }
Result<Fd> BoxCgroups::hand_dir() const {
  return open_control(unified("/hand"), O_RDONLY | O_DIRECTORY);
}
pid_t BoxCgroups::hand_pid() const {
  auto directory = hand_dir();
  if (!directory) return 0;
  Fd procs(::openat(directory->get(), "cgroup.procs", O_RDONLY | O_CLOEXEC));
  char text[32];
  ssize_t n = procs ? ::read(procs.get(), text, sizeof text) : -1;
  if (n <= 0) return 0;
  std::string_view all(text, static_cast<std::size_t>(n));
  return parse_int<pid_t>(all.substr(0, all.find('\n'))).value_or(0);
}

Result<Fd> BoxCgroups::user_dir() const {
  return open_control(unified("/user"), O_RDONLY | O_DIRECTORY);
}

Result<std::vector<Fd>> BoxCgroups::join_fds() const {
  std::vector<Fd> fds;
  for (const std::string& root : hierarchies(roots_)) {
    if (root == roots_.unified) continue;
    // `tasks` moves one thread, cgroup.procs a whole process: the same for who has one thread, and
    // it spares the wait (up to 17 ms) for everybody who might be forking.
    TRY(fd, open_control(str(root, path_, "/tasks"), O_WRONLY));
    fds.push_back(std::move(fd));
  }
  return fds;
}

Result<Fd> BoxCgroups::oom_events() const {
  std::string dir = limits_dir("memory");
  if (dir.empty()) return Error{Code::unsupported, "there is no memory controller on this machine"};
  return open_control(
      dir + (roots_.layout == CgroupLayout::v2 ? "/memory.events" : "/memory.oom_control"),
      O_RDONLY);
}

Result<void> BoxCgroups::kill() const {
  auto killed = write_control(unified("/cgroup.kill"), "1");
  if (!killed && killed.error().code == Code::not_found && !exists(unified())) return ok;
  return killed;
}

Result<bool> BoxCgroups::populated() const {
  auto events = read_control(unified("/cgroup.events"));
  if (!events && events.error().code == Code::not_found) return false;
  if (!events) return std::move(events.error());
  return value_of(*events, "populated") != 0;
}

Result<void> BoxCgroups::freeze(bool frozen, Millis limit) const {
  auto deadline = std::chrono::steady_clock::now() + limit;
  TRY(events, open_control(unified("/user/cgroup.events"), O_RDONLY));
  TRY_DO(write_control(unified("/user/cgroup.freeze"), frozen ? "1" : "0"));
  for (;;) {
    if (::lseek(events.get(), 0, SEEK_SET) != 0) return sys_error("rewind cgroup.events");
    TRY(text, read_all(events.get(), kMaxControlFile), "cgroup.events");
    if ((value_of(text, "frozen") != 0) == frozen) return ok;
    auto left = std::chrono::ceil<Millis>(deadline - std::chrono::steady_clock::now());
    if (left <= Millis(0))
      return Error{Code::timeout, str("processes did not ", frozen ? "freeze" : "thaw", " in ",
                                      limit.count(), " ms")};
    pollfd changed{events.get(), POLLPRI, 0};  // since the read above
    if (::poll(&changed, 1, static_cast<int>(left.count())) < 0 && errno != EINTR)
      return sys_error("wait for the freezer");
  }
}

Result<void> BoxCgroups::thaw() const { return write_control(unified("/user/cgroup.freeze"), "0"); }

Result<bool> BoxCgroups::is_frozen() const {
  TRY(text, read_control(unified("/user/cgroup.freeze")));
  return trim(text) == "1";
}

Result<bool> BoxCgroups::give_back_memory() const {
  std::string dir = limits_dir("memory");
  if (dir.empty()) return false;
  // Version 1 knows only all of it; it stops by itself when no more can be had.
  if (roots_.layout == CgroupLayout::hybrid) {
    TRY_DO(write_control(dir + "/memory.force_empty", "0"));
    return false;
  }
  if (!exists(dir + "/memory.reclaim")) return false;  // before Linux 5.19
  auto given = write_control(dir + "/memory.reclaim", str(kReclaimStep));
  if (!given && given.error().tag == "EAGAIN") return false;
  if (!given) return std::move(given.error());
  return true;
}

Result<BoxCgroups::Usage> BoxCgroups::usage() const {
  Usage usage;
  TRY(cpu, read_control(unified("/user/cpu.stat")));  // there without any controller
  usage.cpu_us = value_of(cpu, "usage_usec");
  const bool v2 = roots_.layout == CgroupLayout::v2;
  if (std::string dir = limits_dir("memory"); !dir.empty()) {
    TRY(memory, read_control(dir + (v2 ? "/memory.current" : "/memory.usage_in_bytes")));
    usage.memory_bytes = parse_int<std::int64_t>(trim(memory)).value_or(0);
    TRY(events, read_control(dir + (v2 ? "/memory.events" : "/memory.oom_control")));
    usage.oom_kills = value_of(events, "oom_kill");
  }
  if (std::string dir = limits_dir("pids"); !dir.empty()) {
    TRY(pids, read_control(dir + "/pids.current"));
    usage.pids = parse_int<std::int64_t>(trim(pids)).value_or(0);
  }
  return usage;
}

Result<void> BoxCgroups::remove() const {
  for (const std::string& root : hierarchies(roots_)) TRY_DO(remove_groups(root + path_));
  return ok;
}

Result<std::vector<pid_t>> BoxCgroups::processes() const {
  std::vector<pid_t> pids;
  TRY_DO(add_processes(unified(), pids));
  return pids;
}

}  // namespace glovebox::sys
