// The orchestrator in a process: as a part (orchestrator_daemon.cc), and in the foreground
// (orchestrate.cc).
#pragma once

#include <functional>
#include <string>

#include "app/config.h"
#include "orchestrator/orchestrator.h"

namespace glovebox::app {

struct Places {
  std::string state_dir, service_url, engine_url, unpack;
  std::string uplink_url;  // only for workers inside
};
// `headers`: as in WellKnown.
Result<orchestrator::Options> orchestrator_options(const Config& config, Places places,
                                                   const Secret& headers);

// Runs until `until_stopped` ends, then lets running calls finish (orchestrator.drain_secs). An
// error: it could not go on. `trouble` hears why no work comes, and "" when it does again.
Task<void> run_orchestrator(net::Loop* loop, orchestrator::Orchestrator* orchestrator,
                            Task<void> until_stopped, Millis drain_limit,
                            std::function<void(const std::string&)> trouble);

}  // namespace glovebox::app
