#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/checks.h"
#include "app/program.h"
#include "app/state.h"
#include "app/users.h"
#include "base/fd.h"
#include "cli/output.h"
#include "net/stream.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

Finding hand(const Machine& machine) {
  auto path = hand_program(machine.config);
  if (!path) return {Verdict::missing, path.error().what};
  return {Verdict::ok, *path};
}

Finding disk(const Machine& machine) {
  struct statvfs info{};
  if (::statvfs(machine.disk.c_str(), &info) < 0)
    return {Verdict::missing, sys_error(machine.disk).what};
  std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  std::string found = str(cli::human_bytes(free), " free at ", machine.disk);
  if (free < static_cast<std::uint64_t>(machine.config.engine.reserve_mb) << 20)
    return {Verdict::missing, found};
  return {free < 5ull << 30 ? Verdict::warn : Verdict::ok, found};
}

Finding file_system(const Machine& machine) {
  struct statfs info{};
  if (::statfs(machine.disk.c_str(), &info) < 0)
    return {Verdict::missing, sys_error(machine.disk).what};
  struct Kind {
    long magic;
    const char* name;
    Verdict verdict;
  };
  constexpr long kXfs = 0x58465342, kBtrfs = 0x9123683e;
  const Kind kKinds[] = {
      {EXT4_SUPER_MAGIC, "ext4", Verdict::ok},
      {kXfs, "xfs", Verdict::ok},
      {kBtrfs, "btrfs", Verdict::ok},
      {TMPFS_MAGIC, "tmpfs: all is gone after a reboot", Verdict::warn},
      {OVERLAYFS_SUPER_MAGIC, "overlay: a layer of a sandbox cannot be on another overlay",
       Verdict::warn},
      {NFS_SUPER_MAGIC, "nfs: sandboxes cannot be on a network file system", Verdict::warn}};
  for (const Kind& kind : kKinds)
    if (info.f_type == kind.magic) return {kind.verdict, kind.name};
  return {Verdict::warn, "a file system this was not tried on"};
}

Finding open_files(const Machine& machine) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  // About six for a box: its hand, its namespaces, its files.
  auto wanted = static_cast<rlim_t>(machine.config.engine.max_sandboxes * 6 + 1000);
  if (limit.rlim_max >= wanted) return {Verdict::ok, str(limit.rlim_max)};
  return {Verdict::warn, str(limit.rlim_max, " at most, ", wanted, " for ",
                             machine.config.engine.max_sandboxes, " sandboxes")};
}

Finding address(const Machine& machine, const std::string& listen) {
  auto parsed = net::Address::parse(listen);
  if (!parsed) return {Verdict::missing, parsed.error().what};
  if (parsed->unix_path.empty() && parsed->port == 0) return {Verdict::ok, "any free port"};
  auto holder = find_holder(machine.config.state);
  if (holder && *holder) return {Verdict::ok, str("Glovebox runs, pid ", (*holder)->pid)};
  if (!parsed->unix_path.empty()) return {Verdict::ok, listen};
  auto bound = net::Listener::bind(*parsed);
  if (!bound) return {Verdict::warn, bound.error().what};
  return {parsed->is_loopback() ? Verdict::ok : Verdict::warn,
          parsed->is_loopback() ? listen + " is free" : listen + " is reachable from elsewhere"};
}

Finding ways_in(const Machine& machine) {
  // The directory itself is opened by `up`.
  const std::string& state = machine.config.state;
  std::string above = state.substr(0, std::max<std::size_t>(1, state.rfind('/')));
  std::string closed = closed_to_others(above);
  if (closed.empty()) return {Verdict::ok, above + " can be passed"};
  return {Verdict::missing, closed + " lets nobody pass"};
}

Finding device(const char* path) {
  Fd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (fd) return {Verdict::ok, path};
  return {Verdict::warn, sys_error(path).what};
}

Finding in_kernel(std::string_view file_system) {
  auto text = sys::read_file("/proc/filesystems", 64 * 1024);
  if (text)
    for (const std::string& line : split(*text, '\n'))
      if (trim(line.substr(line.find('\t') + 1)) == file_system)
        return {Verdict::ok, "in the kernel"};
  return {Verdict::warn, "not in the kernel (or its module is not loaded)"};
}

// A btrfs that nobody has mounted yet may be a module that mount loads.
Finding btrfs(const Machine&) {
  Finding found = in_kernel("btrfs");
  if (found.verdict == Verdict::ok) return found;
  Fd fs(static_cast<int>(::syscall(SYS_fsopen, "btrfs", 0)));
  return fs ? Finding{Verdict::ok, "a module of the kernel"} : found;
}

// It is mounted for the engine alone, which lets root look.
Finding pool(const Machine& machine) {
  const std::string& set = machine.config.engine.pool;
  std::string file = machine.config.state + "/engine/pool.btrfs";
  struct stat info{};
  bool in_file = ::stat(file.c_str(), &info) == 0;
  std::string kind = !set.empty() ? "directory " + set : in_file ? "file " + file : "";
  if (kind.empty()) return {Verdict::ok, "made at the first start"};
  if (in_file && set.empty())
    kind +=
        str(", ", cli::human_bytes(static_cast<std::uint64_t>(info.st_blocks) * 512), " on disk");
  auto endpoints = read_endpoints(machine.config.state);
  pid_t engine = 0;
  if (endpoints)
    for (const PartStatus& part : endpoints->parts)
      if (part.name == "engine") engine = part.pid;
  struct statvfs room{};
  std::string seen = str("/proc/", engine, "/root", machine.config.state, "/engine/pool");
  if (engine == 0 || ::statvfs(seen.c_str(), &room) < 0) return {Verdict::ok, kind};
  std::uint64_t free = static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize;
  std::uint64_t size = static_cast<std::uint64_t>(room.f_blocks) * room.f_frsize;
  bool low = free < static_cast<std::uint64_t>(machine.config.engine.reserve_mb) << 20;
  return {low ? Verdict::warn : Verdict::ok,
          str(kind, ", ", cli::human_bytes(free), " of ", cli::human_bytes(size), " free")};
}

Finding program(std::initializer_list<const char*> names) {
  std::string tried;
  for (const char* name : names) {
    for (const char* folder :
         {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"})
      if (std::string path = str(folder, '/', name); ::access(path.c_str(), X_OK) == 0)
        return {Verdict::ok, path};
    tried += str(tried.empty() ? "" : ", ", name);
  }
  return {Verdict::warn, "no " + tried};
}

Finding kvm(const Machine&) {
  Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!fd) return {Verdict::warn, sys_error("/dev/kvm").what};
  int version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION) return {Verdict::warn, str("/dev/kvm speaks version ", version)};
  return {Verdict::ok, "opens; whether it runs a guest shows only when one is started"};
}

}  // namespace

std::span<const Check> machine_checks() {
  static const Check kChecks[] = {
      {"hand", true, "process 1 of each sandbox",
       "build or install glovebox-hand beside glovebox, or set engine.hand", hand},
      {"disk space", true, "the files of sandboxes",
       "free some, or put the state directory (--state) on another disk", disk},
      {"file system", false, "where the files of sandboxes are",
       "put the state directory on ext4, xfs or btrfs", file_system},
      {"open files", false, "many sandboxes at once",
       "raise the hard limit: ulimit -Hn, LimitNOFILE= of the service, nofile of the container",
       open_files},
      {"address", false, "where the engine listens", "choose another: --listen, engine.listen",
       [](const Machine& machine) { return address(machine, machine.config.engine.listen); }},
      {"brain's address", false, "where the brain listens", "choose another: brain.listen",
       [](const Machine& machine) { return address(machine, machine.config.brain.listen); }},
      {"ways in", true, "brain and orchestrator run as users of their own",
       "put the state directory (--state) where others may pass, or chmod o+x what is named",
       ways_in},
      {"btrfs", true, "the files of sandboxes: disk limits, snapshots, forks",
       "modprobe btrfs, or a kernel that has it", btrfs},
      {"mkfs.btrfs", false, "the first start makes a pool in a file",
       "apt-get install btrfs-progs, or name a directory on btrfs: engine.pool",
       [](const Machine&) { return program({"mkfs.btrfs"}); }},
      {"loop devices", false, "the pool in a file",
       "modprobe loop; for a container --device=/dev/loop-control and loop devices; or name a "
       "directory on btrfs: engine.pool",
       [](const Machine&) { return device("/dev/loop-control"); }},
      {"pool", false, "the files of sandboxes",
       "free some, or put the state directory on another disk", pool},
      {"fuse", false, "file systems inside sandboxes, once they come", "modprobe fuse",
       [](const Machine&) { return device("/dev/fuse"); }},
      {"network", false, "sandboxes that reach more than themselves; without it all are like none",
       "a kernel with veth, nf_tables, nf_conntrack and masquerading (modprobe veth nf_tables "
       "nft_masq nft_ct nft_reject_inet)",
       [](const Machine& machine) {
         return run_probe(machine, {"network", machine.config.engine.network_range});
       }},
      {"runsc", false, "isolation gvisor, once it comes",
       "apt-get install -t bookworm-backports runsc",
       [](const Machine&) { return program({"runsc"}); }},
      {"qemu", false, "isolation microvm, once it comes", "apt-get install qemu-system-x86",
       [](const Machine&) { return program({"qemu-system-x86_64"}); }},
      {"kvm", false, "isolation microvm at full speed, once it comes",
       "enable virtualization, or nested virtualization of this machine", kvm},
  };
  return kChecks;
}

}  // namespace glovebox::app
