#include "sys/seccomp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>

#include "base/fd.h"
#include "sys/tree.h"

namespace glovebox::sys {
namespace {

using Args = std::array<long, 6>;

const std::vector<sock_filter>& filter() {
  static const auto built = tenant_filter().value();
  return built;
}

bool install() {
  sock_fprog program{static_cast<unsigned short>(filter().size()),
                     const_cast<sock_filter*>(filter().data())};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

// What `body` returns (0..100) in a process under the filter; -1 if it did not come to an end.
int under_filter(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();  // no terminal that a call getting through could harm
    ::_exit(install() ? body() : 101);
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// The errno of one call under the filter, 0 if it succeeded.
int errno_of(long number, Args a) {
  return under_filter([=] {
    long result = ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int error = errno;
    if (number == SYS_clone && result == 0) ::_exit(0);
    return result < 0 ? error : 0;
  });
}

// Bad descriptors and pointers: what the filter lets through does no harm, and does not answer
// EPERM.
constexpr Args kBad{-1, -1, -1, -1, -1, -1};

struct Refused {
  const char* name;
  long number;
  Args args;
  int error;
};

const Refused kRefused[] = {
    {"mount", SYS_mount, kBad, EPERM},
    {"umount2", SYS_umount2, kBad, EPERM},
    {"pivot_root", SYS_pivot_root, kBad, EPERM},
    {"fsopen", SYS_fsopen, kBad, EPERM},
    {"fsconfig", SYS_fsconfig, kBad, EPERM},
    {"fsmount", SYS_fsmount, kBad, EPERM},
    {"fspick", SYS_fspick, kBad, EPERM},
    {"open_tree", SYS_open_tree, kBad, EPERM},
    {"move_mount", SYS_move_mount, kBad, EPERM},
    {"mount_setattr", SYS_mount_setattr, kBad, EPERM},
    {"setns", SYS_setns, kBad, EPERM},
    {"unshare user", SYS_unshare, {CLONE_NEWUSER}, EPERM},
    {"unshare mount", SYS_unshare, {CLONE_NEWNS}, EPERM},
    {"unshare network and files", SYS_unshare, {CLONE_NEWNET | CLONE_FILES}, EPERM},
    {"unshare time", SYS_unshare, {CLONE_NEWTIME}, EPERM},
    {"clone user", SYS_clone, {CLONE_NEWUSER | SIGCHLD}, EPERM},
    {"clone pid", SYS_clone, {CLONE_NEWPID | SIGCHLD}, EPERM},
    {"clone cgroup", SYS_clone, {CLONE_NEWCGROUP | SIGCHLD}, EPERM},
    {"clone3", SYS_clone3, kBad, ENOSYS},
    {"bpf", SYS_bpf, kBad, EPERM},
    {"perf_event_open", SYS_perf_event_open, kBad, EPERM},
    {"userfaultfd", SYS_userfaultfd, kBad, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, kBad, EPERM},
    {"io_uring_enter", SYS_io_uring_enter, kBad, EPERM},
    {"io_uring_register", SYS_io_uring_register, kBad, EPERM},
    {"io_setup", SYS_io_setup, kBad, EPERM},
    {"keyctl", SYS_keyctl, kBad, EPERM},
    {"add_key", SYS_add_key, kBad, EPERM},
    {"request_key", SYS_request_key, kBad, EPERM},
    {"init_module", SYS_init_module, kBad, EPERM},
    {"finit_module", SYS_finit_module, kBad, EPERM},
    {"delete_module", SYS_delete_module, kBad, EPERM},
    {"kexec_load", SYS_kexec_load, kBad, EPERM},
    {"reboot", SYS_reboot, kBad, EPERM},
    {"swapon", SYS_swapon, kBad, EPERM},
    {"swapoff", SYS_swapoff, kBad, EPERM},
    {"acct", SYS_acct, kBad, EPERM},
    {"quotactl", SYS_quotactl, kBad, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, kBad, EPERM},
    {"name_to_handle_at", SYS_name_to_handle_at, kBad, EPERM},
    {"syslog", SYS_syslog, kBad, EPERM},
    {"settimeofday", SYS_settimeofday, kBad, EPERM},
    {"clock_settime", SYS_clock_settime, kBad, EPERM},
    {"adjtimex", SYS_adjtimex, kBad, EPERM},
    {"vmsplice", SYS_vmsplice, kBad, EPERM},
    {"move_pages", SYS_move_pages, kBad, EPERM},
    {"process_vm_writev", SYS_process_vm_writev, kBad, EPERM},
    {"pidfd_getfd", SYS_pidfd_getfd, kBad, EPERM},
    {"kcmp", SYS_kcmp, kBad, EPERM},
    {"fanotify_init", SYS_fanotify_init, kBad, EPERM},
    {"vhangup", SYS_vhangup, {}, EPERM},
    {"memfd_secret", 447, kBad, EPERM},
    {"statmount", 457, kBad, ENOSYS},
    {"no such call", 99'999, {}, ENOSYS},
    {"socket packet", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, EAFNOSUPPORT},
    {"socket vsock", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"socket alg", SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}, EAFNOSUPPORT},
    {"socket unspecified", SYS_socket, {0, SOCK_STREAM, 0}, EAFNOSUPPORT},
    {"socket sctp", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_SCTP}, EPROTONOSUPPORT},
    {"socket sctp6", SYS_socket, {AF_INET6, SOCK_SEQPACKET, IPPROTO_SCTP}, EPROTONOSUPPORT},
    {"socket netfilter", SYS_socket, {AF_NETLINK, SOCK_RAW, 12}, EPROTONOSUPPORT},
    {"socketpair tipc", SYS_socketpair, {30, SOCK_STREAM, 0, -1}, EAFNOSUPPORT},
    {"personality read implies exec", SYS_personality, {0x0400000}, EPERM},
    {"TIOCSTI", SYS_ioctl, {0, TIOCSTI, 0}, EPERM},
    {"TIOCLINUX", SYS_ioctl, {0, TIOCLINUX, 0}, EPERM},
    {"TIOCSETD", SYS_ioctl, {0, TIOCSETD, 0}, EPERM},
    // The kernel looks at the low half only, and so must we.
    {"a subvolume", SYS_ioctl, {0, BTRFS_IOC_SUBVOL_CREATE, 0}, ENOTTY},
    {"a subvolume, with flags", SYS_ioctl, {0, BTRFS_IOC_SUBVOL_CREATE_V2, 0}, ENOTTY},
    {"a subvolume, read-only", SYS_ioctl, {0, BTRFS_IOC_SUBVOL_SETFLAGS, 0}, ENOTTY},
    {"a snapshot", SYS_ioctl, {0, BTRFS_IOC_SNAP_CREATE_V2, 0}, ENOTTY},
    {"a clone", SYS_ioctl, {-1, FICLONE, 0}, EOPNOTSUPP},
    {"a clone with a bit above", SYS_ioctl, {-1, FICLONE | 1L << 32, 0}, EOPNOTSUPP},
    {"a clone of a part", SYS_ioctl, {-1, FICLONERANGE, 0}, EOPNOTSUPP},
    {"bytes shared afterwards", SYS_ioctl, {-1, FIDEDUPERANGE, 0}, EOPNOTSUPP},
    {"a copy that may be a clone", SYS_copy_file_range, kBad, EXDEV},
    {"TIOCSTI with a bit above", SYS_ioctl, {0, TIOCSTI | 1L << 32, 0}, EPERM},
    {"socket packet with a bit above",
     SYS_socket,
     {AF_PACKET | 1L << 40, SOCK_RAW, 0},
     EAFNOSUPPORT},
    {"clone user with a bit above", SYS_clone, {CLONE_NEWUSER | SIGCHLD | 1L << 40}, EPERM},
};

TEST(TenantFilter, RefusesWhatABoxMustNotDo) {
  for (const Refused& call : kRefused)
    EXPECT_EQ(errno_of(call.number, call.args), call.error) << call.name;
}

const Refused kAllowed[] = {
    {"clone", SYS_clone, {SIGCHLD}, 0},
    {"unshare files", SYS_unshare, {CLONE_FILES | CLONE_FS}, 0},
    {"tcp", SYS_socket, {AF_INET, SOCK_STREAM, 0}, 0},
    {"tcp by name", SYS_socket, {AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP}, 0},
    {"udp", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_UDP}, 0},
    {"unix", SYS_socket, {AF_UNIX, SOCK_SEQPACKET, 0}, 0},
    {"netlink route", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, 0},
    {"personality asked", SYS_personality, {0xffffffff}, 0},
    {"personality without randomization", SYS_personality, {ADDR_NO_RANDOMIZE}, 0},
    {"munlockall", SYS_munlockall, {}, 0},
    {"chdir", SYS_chdir, {reinterpret_cast<long>("/")}, 0},
    {"another ioctl", SYS_ioctl, {-1, TCGETS, 0}, EBADF},
    {"mbind", SYS_mbind, {0, 0, 0, 0, 0, 0}, 0},
    {"ptrace of nobody", SYS_ptrace, {16, 0x7fffffff, 0, 0}, ESRCH},
    {"close_range", SYS_close_range, {1000, 1000, 0}, 0},
    {"memfd_create", SYS_memfd_create, {reinterpret_cast<long>("x"), 0}, 0},
};

TEST(TenantFilter, LetsOrdinaryCallsThrough) {
  for (const Refused& call : kAllowed)
    EXPECT_EQ(errno_of(call.number, call.args), call.error) << call.name;
}

// GnuPG ends where it hears no.
TEST(TenantFilter, WhoWantsNoCoreFilesIsToldThatThereAreNone) {
  EXPECT_EQ(under_filter([] {
              rlimit before{}, wanted{0, 0}, after{};
              ::getrlimit(RLIMIT_CORE, &before);
              if (::setrlimit(RLIMIT_CORE, &wanted) != 0) return errno;
              ::getrlimit(RLIMIT_CORE, &after);
              return after.rlim_cur == before.rlim_cur && after.rlim_max == before.rlim_max ? 0 : 1;
            }),
            0);
}

#ifdef __x86_64__
TEST(TenantFilter, OtherNumberingsOfTheSameKernelAreShut) {
  EXPECT_EQ(errno_of(0x40000000 | SYS_getpid, {}), ENOSYS) << "x32";
  int i386 = under_filter([] {
    long result = 20;  // getpid there, writev here
    asm volatile("int $0x80" : "+a"(result)::"memory", "r8", "r9", "r10", "r11");
    return static_cast<int>(-result);
  });
  EXPECT_EQ(i386, ENOSYS);
}
#endif

TEST(TenantFilter, CannotBeTakenOff) {
  EXPECT_EQ(under_filter([] {
              sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
              sock_fprog program{1, &allow};
              if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return 100;
              return ::syscall(SYS_bpf, -1, -1, -1) < 0 ? errno : 0;
            }),
            EPERM);
}

TEST(TenantFilter, EachRuleHasAReasonAndStandsOnce) {
  std::set<std::string_view> seen;
  for (auto rules : {tenant_allow_list(), tenant_deny_list(), tenant_argument_list()}) {
    EXPECT_FALSE(rules.empty());
    for (const FilterRule& rule : rules) {
      EXPECT_GT(std::string_view(rule.reason).size(), 8u) << rule.syscall;
      EXPECT_TRUE(seen.insert(rule.syscall).second) << rule.syscall << " is judged twice";
    }
  }
}

TEST(TenantFilter, IsTheSameEveryTime) {
  auto again = tenant_filter().value();
  ASSERT_EQ(again.size(), filter().size());
  EXPECT_EQ(std::memcmp(again.data(), filter().data(), again.size() * sizeof(sock_filter)), 0);
}

// Real programs under the filter.
class Programs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "programs-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(dir_)); }

  static bool have(const std::string& program) {
    for (const std::string& dir : {"/usr/bin/", "/bin/"})
      if (::access((dir + program).c_str(), X_OK) == 0) return true;
    return false;
  }

  // Output of a shell command under the filter, and its exit code.
  std::string run(const std::string& command) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) return "no pipe";
    Fd out(fds[0]), in(fds[1]);
    pid_t pid = ::fork();
    if (pid == 0) {
      ::setsid();
      ::alarm(100);
      ::dup2(in.get(), 1);
      ::dup2(in.get(), 2);
      if (::chdir(dir_.c_str()) != 0 || !install()) ::_exit(101);
      const char* env[] = {"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=.", "LC_ALL=C", nullptr};
      ::execle("/bin/sh", "sh", "-c", command.c_str(), nullptr, env);
      ::_exit(102);
    }
    in.reset();
    std::string text = read_all(out.get(), 1 << 20).value_or("too much");
    int status = 0;
    ::waitpid(pid, &status, 0);
    return text + "exit " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }

  std::string dir_;
};

TEST_F(Programs, Bash) {
  if (!have("bash")) GTEST_SKIP() << "no bash";
  EXPECT_EQ(run("bash -c 'set -o pipefail; (sleep 0.01 & wait); seq 3 | sort -r | tr \"\\n\" \" "
                "\"; cat < <(echo sub)'"),
            "3 2 1 sub\nexit 0");
}

TEST_F(Programs, Python) {
  if (!have("python3")) GTEST_SKIP() << "no python3";
  std::ofstream(dir_ + "/t.py") << R"py(
import multiprocessing, os, socket, subprocess, tempfile, threading, asyncio, mmap, sqlite3
got = []
threads = [threading.Thread(target=got.append, args=(i,)) for i in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(got) == 20
assert subprocess.run(["/bin/echo", "x"], capture_output=True).stdout == b"x\n"
def square(x): return x * x
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool: assert pool.map(square, range(4)) == [0, 1, 4, 9]
    a, b = socket.socketpair(); a.send(b"hi"); assert b.recv(2) == b"hi"
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); c = socket.create_connection(s.getsockname())
    socket.getaddrinfo("localhost", 80); socket.if_nameindex()
    async def main():
        p = await asyncio.create_subprocess_exec("/bin/echo", "y", stdout=subprocess.PIPE)
        assert (await p.communicate())[0] == b"y\n"
    asyncio.run(main())
    d = sqlite3.connect("t.db"); d.execute("pragma journal_mode=wal"); d.execute("create table t(a)"); d.commit()
    print("ok")
)py";
  EXPECT_EQ(run("python3 t.py"), "ok\nexit 0");
}

TEST_F(Programs, Git) {
  if (!have("git")) GTEST_SKIP() << "no git";
  EXPECT_EQ(run("git init -q r && cd r && echo a > f && git add f && "
                "git -c user.name=n -c user.email=e commit -qm first && git gc -q && git log "
                "--format=%s"),
            "first\nexit 0");
}

TEST_F(Programs, Node) {
  if (!have("node")) GTEST_SKIP() << "no node";
  std::ofstream(dir_ + "/t.js") << R"end(
const {Worker} = require('worker_threads'), {execSync} = require('child_process'), net = require('net'), fs = require('fs');
new Worker("require('worker_threads').parentPort.postMessage(7)", {eval: true}).on('message', n => {
  const server = net.createServer(c => c.end('bye')).listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').on('data', d => {
      fs.writeFileSync('f', 'x');
      console.log(n, execSync('echo child').toString().trim(), d.toString());
      server.close();
    });
  });
});
)end";
  EXPECT_EQ(run("node t.js"), "7 child bye\nexit 0");
}

TEST_F(Programs, CompilerAndDebugger) {
  if (!have("gcc")) GTEST_SKIP() << "no gcc";
  std::ofstream(dir_ + "/t.c")
      << "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n";
  EXPECT_EQ(run("gcc -O1 -o t t.c && ./t"), "built\nexit 0");
  if (have("strace"))
    EXPECT_THAT(run("strace -f -o log ./t && grep -c write log"), ::testing::EndsWith("1\nexit 0"));
}

}  // namespace
}  // namespace glovebox::sys
