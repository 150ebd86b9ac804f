// `glovebox worker`: takes the place of `ant beta:worker`. What its two commands share.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/worker_options.h"
#include "cli/target.h"
#include "net/loop.h"
#include "orchestrator/boxes.h"
#include "runner/item.h"
#include "runner/service.h"

namespace glovebox::app {

struct Worker {
  net::Loop& loop;
  const WorkerOptions options;
  const runner::Bearer key;  // the environment's; may be empty
  std::shared_ptr<runner::Service> service;
  std::shared_ptr<orchestrator::Boxes> boxes;  // of --sandbox
  cli::Environment env;                        // as it was when we were started
  std::string hand, unpack;                    // the programs
  std::unique_ptr<net::Pool> pool;             // for files of this host
  // Tool calls that run now, of all sessions here.
  std::shared_ptr<std::size_t> running = std::make_shared<std::size_t>(0);
};

// Reads what is still needed of this machine, turns logs on, and forgets the secrets of the
// environment.
Result<std::shared_ptr<Worker>> make_worker(net::Loop& loop, WorkerOptions options,
                                            const cli::Context& context);
void block_signals();

// An item served here, with hands of this host or a box.
std::shared_ptr<runner::Item> make_item(const std::shared_ptr<Worker>& worker, runner::Work work);
void tell_end(const runner::Work& work, const runner::ItemEnd& end);

// Runs `work` until it ends. The first SIGINT or SIGTERM calls `stop`; the second cancels. The exit
// code: what `work` made of it, or 128 and the second signal's number.
Result<int> run_until_signals(net::Loop& loop, Task<int> work, std::function<void()> stop);

}  // namespace glovebox::app
