// The helper: a small copy of the hand in the tenant's control groups, whose only work is to fork.
// Its copies, the blanks, go into a group each, put the tenant's system call filter on and wait to
// be told what to become. All that is slow about a start (groups, filter: about a quarter of a
// millisecond; joining a version 1 group: up to twenty) is done before it is asked for.
#pragma once

#include <string_view>

#include "hand/hand.h"

namespace glovebox::hand {

// What the hand sends: u64 id, with the blank's socket and, where there are control groups, its
// directory. What comes back: u64 id, i64 pid or -errno.
inline constexpr std::size_t kHelperMessage = 64;

// What becomes of the process that was forked for it. Never returns.
[[noreturn]] void helper_main(const Config& config, int socket) noexcept;

// Every descriptor from `first` on.
void close_from(int first);

}  // namespace glovebox::hand
