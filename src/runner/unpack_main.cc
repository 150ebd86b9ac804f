// glovebox-unpack ARCHIVE_LIMIT UNPACKED_LIMIT MEMBERS <archive >records: reads one archive and
// tells what is in it (runner/member_frames.h). Before it looks at the first byte it gives up
// everything but writing to its standard output, so that a mistake in a parser is worth nothing:
// no file, no process, no socket, no secret in its memory. Static: it runs on a bare root.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <cstddef>

#include "runner/archive_members.h"
#include "runner/member_frames.h"

namespace glovebox::runner {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kSanitized = true;  // It maps terabytes, and reports through calls we refuse.
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

#if defined(__x86_64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_AARCH64;
#endif

constexpr rlim_t kMemory = 512 << 20;  // the archive, and the largest windows of xz and zstd
constexpr rlim_t kSeconds = 60;

bool read_all(std::string& into, std::size_t limit) {
  std::array<char, 64 * 1024> piece;
  for (;;) {
    ssize_t n = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return true;
    if (n < 0 || into.size() + static_cast<std::size_t>(n) > limit) return false;
    into.append(piece.data(), static_cast<std::size_t>(n));
  }
}

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool limit(decltype(RLIMIT_AS) what, rlim_t to) {
  rlimit both{to, to};
  return ::setrlimit(what, &both) == 0;
}

#define GB_ALLOW(call) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
// Memory, but none that can be executed.
#define GB_ALLOW_DATA(call)                                                \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4),                         \
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])), \
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),               \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),                        \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

bool renounce() {
  if (kSanitized) return true;
  if (!limit(RLIMIT_AS, kMemory) || !limit(RLIMIT_CPU, kSeconds) || !limit(RLIMIT_CORE, 0) ||
      !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, 0))
    return false;
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      GB_ALLOW(SYS_write),       // what it finds; its only open descriptor
      GB_ALLOW(SYS_exit_group),  // the end
      GB_ALLOW(SYS_brk),         // malloc, and the four below
      GB_ALLOW(SYS_munmap),
      GB_ALLOW(SYS_mremap),
      GB_ALLOW_DATA(SYS_mmap),
      GB_ALLOW_DATA(SYS_mprotect),
      // Looking for what a locale or a conversion might need fails, and is no crime.
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
  };
  sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int main(int argc, char** argv) {
  ArchiveLimits limits;
  const std::array wanted = {&limits.archive, &limits.unpacked, &limits.members};
  if (argc != 1 + static_cast<int>(wanted.size())) return 2;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto value = parse_int<std::size_t>(argv[i + 1]);
    if (!value) return 2;
    *wanted[i] = *value;
  }
  // Where there is such a locale, names in UTF-8 can be read from every kind of archive.
  (void)std::setlocale(LC_CTYPE, "C.UTF-8");
  std::string archive;
  if (!read_all(archive, limits.archive)) return 3;
  ::close(STDIN_FILENO);
  ::close(STDERR_FILENO);
  if (!renounce()) return 4;
  auto read = read_members(archive, limits, write_all);
  return write_all(read ? end_record() : refusal_record(read.error().what)) ? 0 : 5;
}

}  // namespace
}  // namespace glovebox::runner

int main(int argc, char** argv) { return glovebox::runner::main(argc, argv); }
