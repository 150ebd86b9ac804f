// What may go wrong for the process that tries it is tried by `glovebox probe NAME`, which prints
// one line and ends.
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "app/checks.h"
#include "app/commands.h"
#include "base/clock.h"
#include "base/fd.h"
#include "engine/forwarding.h"
#include "engine/network_rules.h"
#include "sys/link.h"
#include "sys/mount.h"
#include "sys/namespaces.h"
#include "sys/process.h"
#include "sys/tree.h"

namespace glovebox::app {

namespace {

constexpr Millis kProbeLimit = 15s;
// Ids nobody has: the range only lives in a namespace that ends with the probe.
constexpr uid_t kProbeIds = (1u << 31) - 2 * sys::kIdsPerBox;

Result<std::string> probe_namespaces() {
  TRY(made, sys::make_namespaces(kProbeIds));
  if (::unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0) return sys_error("mount and cgroup namespaces");
  if (::unshare(CLONE_NEWPID) < 0) return sys_error("pid namespace");
  TRY_DO(sys::enter(made), "enter them");
  return std::string("all seven can be made");
}

// The mounts of a box's root, where its files will be: lower and upper idmapped, an overlay over
// both, a file in it.
Result<std::string> mount_box_root(const std::string& dir) {
  for (const char* part : {"/lower", "/upper", "/upper/u", "/upper/w", "/root"})
    if (::mkdir((dir + part).c_str(), 0755) < 0) return sys_error(dir + part);
  TRY(spaces, sys::make_namespaces(kProbeIds));
  if (::unshare(CLONE_NEWNS) < 0) return sys_error("mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
    return sys_error("private mounts");
  TRY(lower, sys::clone_mount(AT_FDCWD, dir + "/lower"));
  TRY_DO(sys::set_mount(lower.get(), MOUNT_ATTR_RDONLY, spaces.user.get()), "idmapped mount");
  TRY(upper, sys::clone_mount(AT_FDCWD, dir + "/upper"));
  TRY_DO(sys::set_mount(upper.get(), MOUNT_ATTR_NOSUID, spaces.user.get()), "idmapped mount");
  // Attached: kernels before 6.15 take no layer that is not.
  TRY_DO(sys::attach_mount(lower.get(), AT_FDCWD, dir + "/lower"));
  TRY_DO(sys::attach_mount(upper.get(), AT_FDCWD, dir + "/upper"));
  TRY(root, sys::make_overlay(dir + "/lower", dir + "/upper/u", dir + "/upper/w", kProbeIds,
                              MOUNT_ATTR_NODEV));
  TRY_DO(sys::attach_mount(root.get(), AT_FDCWD, dir + "/root"));
  struct statvfs info{};
  if (::statvfs((dir + "/root").c_str(), &info) < 0) return sys_error("overlay");
  if (info.f_flag & ST_RDONLY)
    return Error{Code::unsupported, "the overlay is read-only: see dmesg"};
  return std::string("overlay over idmapped layers");
}

Result<std::string> probe_box_root(const std::string& disk) {
  std::string dir = disk + "/.glovebox-doctor-XXXXXX";
  if (!::mkdtemp(dir.data())) return sys_error("make a directory in " + disk);
  auto found = mount_box_root(dir);
  // Our mounts hide what is below them, and are only in our namespace.
  for (const char* part : {"/root", "/upper", "/lower"})
    ::umount2((dir + part).c_str(), MNT_DETACH);
  auto gone = sys::remove_tree(dir);
  if (found && !gone) return std::move(gone.error());
  return found;
}

// Links, rules and forwarding, in a network that ends with us; and what this machine's own network
// has to say against it.
Result<std::string> probe_network(const std::string& range) {
  TRY(block, engine::parse_rule(range), "engine.network_range");
  if (block.first.size() != 4) return Error{Code::invalid, "engine.network_range: must be of IPv4"};
  sys::Ip4 first;
  std::copy(block.first.begin(), block.first.end(), first.begin());
  TRY(host, sys::Netlink::open(NETLINK_ROUTE));
  TRY(taken, sys::route_within(host, first, 16, engine::kLinkPrefix));
  if (::unshare(CLONE_NEWNET) < 0) return sys_error("network namespace");
  TRY(inner, sys::Netlink::open(NETLINK_ROUTE));
  TRY_DO(sys::can_make_links(inner), "veth");
  sys::nft::Transaction table("glovebox_probe");
  engine::write_table(table, "gbx");
  TRY_DO(table.commit(), "nftables");
  engine::Guards guards;
  TRY_DO(engine::turn_forwarding_on(false, guards));
  if (!taken.empty())
    return Error{Code::conflict, str("this machine has a route to ", taken, " within ", range,
                                     ": set engine.network_range to another block")};
  return str("links of ", range, "; rules in the kernel's nftables");
}

Result<int> probe(cli::Context&, cli::Args& args, cli::Output&) {
  TRY(what, args.positional("NAME"));
  if (what == "wait") {  // until somebody kills it
    ::alarm(30);
    for (;;) ::pause();
  }
  Result<std::string> found = Error{Code::invalid, "there is no probe " + what};
  if (what == "namespaces") found = probe_namespaces();
  if (what == "box-root") {
    TRY(disk, args.positional("DIRECTORY"));
    found = probe_box_root(disk);
  }
  if (what == "network") {
    TRY(range, args.positional("RANGE"));
    found = probe_network(range);
  }
  std::puts((found ? *found : found.error().what).c_str());
  return found ? 0 : 1;
}

}  // namespace

Finding run_probe(const Machine& machine, std::vector<std::string> words) {
  sys::SpawnSpec child{.program = machine.program, .args = {"glovebox", "probe"}};
  child.args.insert(child.args.end(), words.begin(), words.end());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return {Verdict::missing, sys_error("pipe").what};
  Fd reader(ends[0]), writer(ends[1]);
  child.fds = {{writer.get(), STDOUT_FILENO}};
  auto process = sys::spawn(child);
  if (!process) return {Verdict::missing, process.error().what};
  writer.reset();
  pollfd event{process->exit_event(), POLLIN, 0};
  if (::poll(&event, 1, static_cast<int>(kProbeLimit.count())) <= 0)
    return {Verdict::missing, "it does not end"};
  auto status = process->reap();
  auto said = sys::read_all(reader.get(), 64 * 1024);
  std::string text = said ? std::string(trim(*said)) : "";
  if (status && *status == 0) return {Verdict::ok, text};
  return {Verdict::missing, text.empty() ? "it died" : text};
}

const cli::Command kProbe{.name = "probe",
                          .usage = "probe NAME [DIRECTORY|RANGE]",
                          .help = "What 'doctor' tries in a process of its own.",
                          .run = probe,
                          .kind = cli::Command::Kind::internal};

}  // namespace glovebox::app
