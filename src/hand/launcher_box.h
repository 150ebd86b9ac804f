// Making a blank: the child that waits, already in its own pid and mount namespace and control
// groups, to be told which box it is.
#pragma once

#include <linux/filter.h>

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "sys/cgroup.h"
#include "wire/launcher.h"

namespace glovebox::hand {

class BoxMaker {
 public:
  // `command_line` is this process's own, in place.
  BoxMaker(sys::CgroupRoots roots, std::string prefix, std::vector<sock_filter> filter,
           std::span<char> command_line)
      : roots_(std::move(roots)),
        prefix_(std::move(prefix)),
        filter_(std::move(filter)),
        command_line_(command_line) {}

  struct Blank {
    pid_t pid = 0;
    Fd gate;
  };
  Result<Blank> make_blank(const wire::PrepareBox& plan);
  Result<void> set_limits(const std::string& id, const wire::BoxLimits& limits);

 private:
  Result<Blank> start_child(const wire::PrepareBox& plan, const std::string& usr_view,
                            const sys::BoxCgroups& groups);
  Result<std::string> usr_view(const std::string& mask);
  sys::CgroupRoots roots_;
  std::string prefix_;
  std::vector<sock_filter> filter_;
  std::span<char> command_line_;
  std::map<std::string, std::string> usr_views_;  // mask → where it is mounted
};

}  // namespace glovebox::hand
