// The engine as a process: what the supervisor tells it, and what it serves with.
#pragma once

#include <string>
#include <vector>

#include "app/config.h"
#include "base/secret.h"

namespace glovebox::app {

// The keys as they are now: whoever checks one asks each time, so that a rotated key counts at
// once.
struct Keys {
  Secret engine, metrics;
  // "key NAME VALUE" of the supervisor; false: no such key here.
  bool take(std::string_view name_and_value);
};

// The Hosts a listener answers to: on loopback only `own`, the names of this machine, and the
// configured ones, so that no foreign page gets in by DNS. Elsewhere all, unless some are
// configured.
std::vector<std::string> allowed_hosts(std::vector<std::string> own, const Config& config,
                                       bool loopback);

}  // namespace glovebox::app
