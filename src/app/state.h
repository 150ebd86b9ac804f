// The state directory of an instance, as the supervisor sees it:
//
//   run/lock            held (flock) by the supervisor for as long as it lives; holds its pid
//   run/endpoints.json  which parts run and where they listen: what `status` and clients read
//   keys/NAME           0600 in a 0700 directory; made on first start
//   log/PART.log        when detached
//   PART/               each part's own, 0700
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/secret.h"

namespace glovebox::app {

Result<void> prepare_state(const std::string& state);

// The key of that name, made if there is none. Refused when others may read it.
Result<Secret> ensure_key(const std::string& state, std::string_view name);
Result<Secret> read_key(const std::string& state, std::string_view name);

// One supervisor per state directory, and the way to find it. Who finds the lock free knows that
// none lives: the lock goes with the process, however it ends.
class InstanceLock {
 public:
  // Code::conflict names the one that holds it.
  static Result<InstanceLock> take(const std::string& state);

 private:
  explicit InstanceLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// One orchestrator per environment on a machine: two would take each other's work. For environments
// that have a name here; that of our own brain has one orchestrator by its state directory.
class EnvironmentLock {
 public:
  // In `claims`, which is root's. Code::conflict names the one that holds it.
  static Result<EnvironmentLock> take(const std::string& environment, const std::string& claims);
  EnvironmentLock(EnvironmentLock&&) = default;
  EnvironmentLock& operator=(EnvironmentLock&&) = default;
  ~EnvironmentLock();  // takes the file away, too

 private:
  EnvironmentLock(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;
};

struct Holder {
  pid_t pid = 0;
  Fd pidfd;  // certainly of the process that holds the lock
};
Result<std::optional<Holder>> find_holder(const std::string& state);

struct PartStatus {
  std::string name, url;
  pid_t pid = 0;  // 0: not running now
  std::int64_t started_ms = 0;
  std::int64_t restarts = 0;
  std::string problem;  // why it does not run
};
struct Endpoints {
  pid_t pid = 0;
  std::int64_t started_ms = 0;
  std::vector<PartStatus> parts;
  std::string ingress_domain = {};  // whose names the ingress' certificate counts for
};
std::string encode(const Endpoints& endpoints, const std::string& state);
Result<Endpoints> decode_endpoints(const std::string& json);
Result<void> write_endpoints(const std::string& state, const Endpoints& endpoints);
Result<Endpoints> read_endpoints(const std::string& state);
void remove_endpoints(const std::string& state);

}  // namespace glovebox::app
