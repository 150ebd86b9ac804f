#include "sys/seccomp.h"

#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/fd.h"
#include "sys/tree.h"

namespace glovebox::sys {

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
#else
#error "say which architecture's system calls the tenant may make"
#endif
static_assert(std::endian::native == std::endian::little,
              "load_argument() reads the low half of an argument");

// (CLONE_NEWTIME lies within clone's exit signal, where no valid one has that bit.)
constexpr std::uint32_t kNamespaceFlags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID |
                                          CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                                          CLONE_NEWCGROUP | CLONE_NEWTIME;
constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;

// The calls judged by an argument, written by hand and run before the list. libseccomp cannot say
// "allow unless the low 32 bits are one of these", and it must be the low 32: the kernel ignores
// the rest of an int argument, so a comparison of all 64 is passed by setting a bit above.
using Word = std::uint32_t;
using Program = std::vector<sock_filter>;

constexpr Word refuse(int error) { return SECCOMP_RET_ERRNO | static_cast<Word>(error); }

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<Word>(offset));
}
sock_filter load_argument(unsigned n) {
  return load(offsetof(seccomp_data, args) + n * sizeof(std::uint64_t));
}
sock_filter answer(Word action) { return BPF_STMT(BPF_RET | BPF_K, action); }

void add(Program& program, const Program& more) {
  program.insert(program.end(), more.begin(), more.end());
}

// Runs `then`, which must fit a jump, if what was loaded is `value`.
Program if_equal(Word value, const Program& then) {
  assert(then.size() < 256);
  Program program{
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<std::uint8_t>(then.size()))};
  add(program, then);
  return program;
}

// What was loaded is judged: `match` if it is one of the values, `otherwise` if not.
Program judge(std::initializer_list<Word> values, Word match, Word otherwise) {
  Program program;
  for (Word value : values) add(program, if_equal(value, {answer(match)}));
  program.push_back(answer(otherwise));
  return program;
}

Program judge_argument(unsigned n, std::initializer_list<Word> values, Word match, Word otherwise) {
  Program program{load_argument(n)};
  add(program, judge(values, match, otherwise));
  return program;
}

Program no_namespaces() {
  return {load_argument(0), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kNamespaceFlags, 0, 1),
          answer(refuse(EPERM)), answer(kAllow)};
}

Program judge_socket() {
  Program internet = judge_argument(2, {0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6},
                                    kAllow, refuse(EPROTONOSUPPORT));
  Program program{load_argument(0)};
  add(program, if_equal(AF_INET, internet));
  add(program, if_equal(AF_INET6, internet));
  // getifaddrs asks the kernel through it; changing anything takes rights over the network
  // namespace.
  add(program,
      if_equal(AF_NETLINK, judge_argument(2, {NETLINK_ROUTE}, kAllow, refuse(EPROTONOSUPPORT))));
  add(program, judge({AF_UNIX}, kAllow, refuse(EAFNOSUPPORT)));
  return program;
}

// The limit on core files is 1, the kernel's word for "not even through the host's handler": nobody
// may lower it to 0. Who tries is told that it is done, since there are no core files as it is:
// GnuPG gives up where it hears no.
Program no_core_limit(unsigned resource, bool only_if_given) {
  Program refused;
  if (only_if_given)
    refused = {load_argument(2), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
               load(offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t) + 4),
               BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), answer(kAllow)};
  refused.push_back(answer(refuse(0)));
  Program program{load_argument(resource)};
  add(program, if_equal(RLIMIT_CORE, refused));
  program.push_back(answer(kAllow));
  return program;
}

// /workspace, /tmp and volumes are directories of one btrfs file system. Of what that offers beside
// files the tenant gets nothing: subvolumes within would count in nobody's quota and outlive their
// volume, and a clone of bytes costs the quota that it goes into nothing. Who asks for one is told
// what file systems without it say, and copies.
Program judge_ioctl() {
  constexpr Word kType = 0xff00, kBtrfs = 0x9400;
  Program program{load_argument(1), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kType)};
  add(program, if_equal(kBtrfs, judge_argument(1, {FICLONE, FICLONERANGE, FIDEDUPERANGE},
                                               refuse(EOPNOTSUPP), refuse(ENOTTY))));
  add(program, judge_argument(1, {TIOCSTI, TIOCLINUX, TIOCSETD}, refuse(EPERM), kAllow));
  return program;
}

Program judged_calls() {
  Program body{load(offsetof(seccomp_data, nr))};
  add(body, if_equal(SYS_clone, no_namespaces()));
  add(body, if_equal(SYS_unshare, no_namespaces()));
  add(body, if_equal(SYS_socket, judge_socket()));
  add(body, if_equal(SYS_socketpair, judge_argument(0, {AF_UNIX}, kAllow, refuse(EAFNOSUPPORT))));
  add(body, if_equal(SYS_personality, judge_argument(0, {PER_LINUX, ADDR_NO_RANDOMIZE, 0xffffffff},
                                                     kAllow, refuse(EPERM))));
  add(body, if_equal(SYS_ioctl, judge_ioctl()));
  // It clones where it can. Every program must know what to do between two file systems.
  add(body, if_equal(SYS_copy_file_range, {answer(refuse(EXDEV))}));
#ifdef SYS_setrlimit
  add(body, if_equal(SYS_setrlimit, no_core_limit(0, false)));
#endif
  add(body, if_equal(SYS_prlimit64, no_core_limit(1, true)));
  // Under another architecture the numbers mean other calls: leave those to the list, which refuses
  // them all.
  Program program{load(offsetof(seccomp_data, arch))};
  add(program, if_equal(kNativeArch, body));
  return program;
}

Result<Program> listed_calls() {
  using Context =
      std::unique_ptr<void, decltype([](void* context) { ::seccomp_release(context); })>;
  Context context(::seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (!context) return Error{Code::internal, "libseccomp: no context"};
  auto check = [](int result, std::string_view what) -> Result<void> {
    if (result == 0) return ok;
    return sys_error(str("libseccomp: ", what), -result);
  };
  TRY_DO(check(::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)),
               "other architectures"));
  TRY_DO(check(::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "binary tree"));
  auto add_rules = [&](std::span<const FilterRule> rules, Word action) -> Result<void> {
    for (const FilterRule& rule : rules) {
      int number = ::seccomp_syscall_resolve_name(rule.syscall);
      if (number < 0) continue;  // of another architecture, or newer than the library: ENOSYS
      TRY_DO(check(::seccomp_rule_add(context.get(), action, number, 0), rule.syscall));
    }
    return ok;
  };
  TRY_DO(add_rules(tenant_allow_list(), SCMP_ACT_ALLOW));
  TRY_DO(add_rules(tenant_deny_list(), SCMP_ACT_ERRNO(EPERM)));

  Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file) return sys_error("memory for the filter");
  TRY_DO(check(::seccomp_export_bpf(context.get(), file.get()), "export"));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return sys_error("rewind the filter");
  TRY(bytes, read_all(file.get(), BPF_MAXINSNS * sizeof(sock_filter)), "exported filter");
  if (bytes.empty() || bytes.size() % sizeof(sock_filter) != 0)
    return Error{Code::internal, "libseccomp: odd filter"};
  Program program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), bytes.size());
  return program;
}

}  // namespace

Result<std::vector<sock_filter>> tenant_filter() {
  Program program = judged_calls();
  TRY(list, listed_calls());
  add(program, list);
  if (program.size() > BPF_MAXINSNS)
    return Error{Code::internal, "the filter is too long for the kernel"};
  return program;
}

}  // namespace glovebox::sys
