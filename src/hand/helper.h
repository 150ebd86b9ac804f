// The helper: a small copy of the hand in the tenant's control groups, whose only work is to fork.
// Its copies, the blanks, go into a group each, put the tenant's system call filter on and wait to
// be told what to become. All that is slow about a start (groups, filter: about a quarter of a
// millisecond; joining a version 1 group: up to twenty) is done before it is asked for.
#pragma once

#include <functional>
#include <optional>

#include "hand/group.h"
#include "hand/hand.h"

namespace glovebox::hand {

// What the hand sends: u64 id, with the blank's socket and, where there are control groups, its
// directory. What comes back: u64 id, i64 pid or -errno.
inline constexpr std::size_t kHelperMessage = 64;

struct AskedBlank {  // the helper's answer is still to come
  Group group;
  Fd socket;
};
struct Helper {
  Group group;
  Fd socket;  // it ends when this is closed
  pid_t pid = 0;
  std::optional<AskedBlank> first;  // asked for already, with the id kFirstBlank
};
inline constexpr std::uint64_t kFirstBlank = 1;
// `enter` is called in it, before all else.
Result<Helper> fork_helper(const Config& config, const std::function<Result<void>()>& enter = {});
Result<AskedBlank> ask_for_blank(const Config& config, int helper, std::uint64_t id);

// As serve() of hand.h; `ahead`: one that has been forked for this configuration already.
int serve(Config config, std::optional<Helper> ahead);

// Every descriptor from `first` on.
void close_from(int first);

}  // namespace glovebox::hand
