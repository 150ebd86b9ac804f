// glovebox-unpack ARCHIVE_LIMIT UNPACKED_LIMIT MEMBERS <archive >records: reads one archive and
// tells what is in it (runner/member_frames.h). Before it looks at the first byte it gives up
// everything but writing to its standard output, so that a mistake in a parser is worth nothing:
// no file, no process, no socket, no secret in its memory. Static: it runs on a bare root.
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>

#include "runner/archive_members.h"
#include "runner/member_frames.h"
#include "sys/call_filter.h"

namespace glovebox::runner {
namespace {

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

bool renounce() {
  if (sys::kSanitized) return true;
  if (!sys::limit_to(RLIMIT_AS, kMemory) || !sys::limit_to(RLIMIT_CPU, kSeconds) ||
      !sys::no_core_files() || !sys::limit_to(RLIMIT_FSIZE, 0) || !sys::limit_to(RLIMIT_NOFILE, 0))
    return false;
  sys::CallFilter filter;
  filter.allow(SYS_write);       // what it finds; its only open descriptor
  filter.allow(SYS_exit_group);  // the end
  for (int call : {SYS_brk, SYS_munmap, SYS_mremap}) filter.allow(call);  // malloc
  for (int call : {SYS_mmap, SYS_mprotect}) filter.allow_data(call);      // malloc
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && filter.install();
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
