// The program of `--on-work`: it gets one claimed item, and serves the session in whatever way it
// likes. The contract is that of the official worker's poll, docs/worker.md says what is ours.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/worker.h"
#include "sys/process.h"

namespace glovebox::app {

// What it inherits, and the item.
std::vector<std::string> script_environment(const Worker& worker, const runner::Work& work);

Result<sys::Process> start_script(const Worker& worker, const runner::Work& work);

// Its wait status. It is asked to go (SIGTERM) when that is wanted, and killed with its group
// `grace` later; at once when we are cancelled.
Task<int> end_of_script(net::Loop& loop, sys::Process process, std::function<bool()> wanted,
                        std::shared_ptr<net::Event> changed, Millis grace);

}  // namespace glovebox::app
