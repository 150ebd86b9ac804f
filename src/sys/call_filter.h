// A seccomp filter for a process that is about to meet foreign bytes: a list of the few calls it
// still needs, on this architecture, with memory that can never be executed. Header only, for
// programs that link nothing else of ours.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace glovebox::sys {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool kSanitized = true;  // It maps terabytes, and reports through calls we refuse.
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

class CallFilter {
 public:
  CallFilter() {
    add({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0),
         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))});
  }
  void allow(int call) {
    add({BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1),
         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
  }
  // mmap and mprotect: memory, but none that can be executed.
  void allow_data(int call) {
    add({BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 4),
         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
         BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)});
  }
  // From now on, and for good. Whatever else a library would like (a locale, a program for a
  // filter) fails, and is no crime. Needs no_new_privs.
  bool install() {
    add({BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)});
    sock_fprog program{static_cast<unsigned short>(lines_.size()), lines_.data()};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
  }

 private:
#if defined(__x86_64__)
  static constexpr std::uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
  static constexpr std::uint32_t kArch = AUDIT_ARCH_AARCH64;
#endif
  void add(std::initializer_list<sock_filter> lines) {
    lines_.insert(lines_.end(), lines.begin(), lines.end());
  }
  std::vector<sock_filter> lines_;
};

inline bool limit_to(decltype(RLIMIT_AS) what, rlim_t to) {
  rlimit both{to, to};
  return ::setrlimit(what, &both) == 0;
}

// In a box of the engine the limit is 1, which is less than none at all to the kernel, and may not
// be touched.
inline bool no_core_files() {
  rlimit now{};
  if (::getrlimit(RLIMIT_CORE, &now) == 0 && now.rlim_max <= 1) return true;
  return limit_to(RLIMIT_CORE, 0);
}

}  // namespace glovebox::sys
