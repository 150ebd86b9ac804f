// The engine's HTTP API, as far as it takes to have a box and to call its tools.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/secret.h"
#include "http/client.h"
#include "net/loop.h"
#include "runner/hands.h"

namespace glovebox::orchestrator {

struct Box {
  std::string id, status;
};

struct NewBox {
  std::string name, image;
  std::int64_t timeout_secs = 0;
};

// Errors: `code` follows the status, `tag` is the API's word ("NAME_TAKEN"); Code::unavailable and
// Code::timeout where the engine is not there (now).
class EngineApi {
 public:
  EngineApi(net::Loop& loop, http::Url url, std::shared_ptr<const Secret> key);
  ~EngineApi();

  // By name or id; nullopt where there is none that lives.
  Task<std::optional<Box>> find(std::string box);
  Task<Box> create(NewBox box);  // without a network
  Task<void> remove(std::string box);
  Task<void> resume(std::string box);

  // The same key is the same call, however often it is asked for.
  Task<runner::ToolResult> call(std::string box, runner::ToolCall call);
  Task<void> end_call(std::string box, std::string call);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Trouble that may pass by itself: the engine restarts, its key is being changed, it is full.
bool may_pass(const Error& error);

}  // namespace glovebox::orchestrator
