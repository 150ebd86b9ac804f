// In the box that takes webhooks, where it takes the work, too: receiver and orchestrator in one
// process, whose service, engine and uplink are all the one listener of the box's own loopback.
#pragma once

#include "app/config.h"
#include "http/client.h"
#include "net/loop.h"
#include "net/stream.h"

namespace glovebox::app {

// Until it is told to stop. `directory` is for its journal.
Task<void> run_steward(net::Loop* loop, net::Address listen, http::Url to, Config config,
                       std::string directory);

}  // namespace glovebox::app
