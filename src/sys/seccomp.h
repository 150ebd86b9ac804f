// The system calls a tenant may make: an allow-list with a reason for each line. A call not listed,
// an unknown one and one of a foreign architecture answer ENOSYS, so that libraries fall back; what
// is known and refused on purpose answers EPERM.
#pragma once

#include <linux/filter.h>

#include <span>
#include <vector>

#include "base/error.h"

namespace glovebox::sys {

// The program for seccomp(SECCOMP_SET_MODE_FILTER). It holds no state: build it once, install it in
// any number of processes.
Result<std::vector<sock_filter>> tenant_filter();

struct FilterRule {
  const char* syscall;
  const char* reason;
};
std::span<const FilterRule> tenant_allow_list();
std::span<const FilterRule> tenant_deny_list();  // answered with EPERM, or as it says
// Allowed, but judged by an argument: what is refused of them.
std::span<const FilterRule> tenant_argument_list();

}  // namespace glovebox::sys
