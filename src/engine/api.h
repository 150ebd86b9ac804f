// The engine's HTTP API: the Tensorlake sandbox API's lifecycle and data plane at its real paths
// and shapes, and what we add to it. docs/api.md has the whole list. Handlers decode, ask the
// engine or a hand, encode; rules of boxes are not here.
#pragma once

#include <memory>
#include <vector>

#include "base/secret.h"
#include "engine/engine.h"
#include "http/server.h"

namespace glovebox::engine {

struct ApiKeys {
  Secret key;          // of everything; empty: none is asked for
  Secret metrics_key;  // of /metrics beside it
};

struct ApiState;

class Api {
 public:
  // `loop` and `engine` outlive this; this outlives the http::Server that has its routes.
  Api(net::Loop& loop, Engine& engine, ApiKeys keys);
  ~Api();
  void set_keys(ApiKeys keys);  // rotation: counts from the next request on

  std::vector<http::Route> routes();
  // Credentials, the routing of sandboxes by Host and header, and the names a loopback listener
  // has. Limits are the caller's.
  http::ServerOptions server_options();
  Task<void> close(Millis limit);  // ends what goes on behind requests

 private:
  std::unique_ptr<ApiState> state_;
};

}  // namespace glovebox::engine
