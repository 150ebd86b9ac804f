// Whose process a part is. The engine is root's. Every other part runs as a user of its own, who
// owns STATE/PART and can reach nothing else of the instance: `glovebox-PART` where the machine has
// such a user, else an id from the range that is kept for users without a name.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"

namespace glovebox::app {

inline constexpr uid_t kFirstUser = 61184, kLastUser = 65519;  // as systemd's DynamicUser=
inline constexpr std::string_view kClaims = "/run/glovebox/claims";

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The owner that `directory` (STATE/PART, made if it is not there) has from now on. The directory
// remembers its id; a claim in `claims`, the machine's, sees to it that no two instances use one at
// the same time. Where an id had to change, what the part has written changes hands too.
Result<User> user_for(const std::string& part, const std::string& directory,
                      const std::string& claims = std::string(kClaims));
// Nobody will run as the owner of `directory` any more.
Result<void> release_user(const std::string& directory,
                          const std::string& claims = std::string(kClaims));

// A path can only be reached through directories that let others pass: the first that does not, or
// "".
std::string closed_to_others(const std::string& path);

// This process is the user's from now on, for good: no way back, no groups, no capabilities, no new
// privileges. Then nobody but root can look into it (it is not dumpable).
Result<void> become(User user);

}  // namespace glovebox::app
