// What the two tasks of a SessionRunner share. Only for its own files.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "runner/calls.h"
#include "runner/session_runner.h"

namespace glovebox::runner {

struct SessionImpl {
  SessionImpl(net::Loop& on, Service& with, std::shared_ptr<Hands> by, std::string of, Bearer key,
              SessionOptions options)
      : loop(on),
        service(with),
        hands(std::move(by)),
        session(std::move(of)),
        bearer(std::move(key)),
        options(options),
        calls(options.max_idle, [this](std::string_view tool) { return hands->has(tool); }) {}

  // Nothing that could come of the present call is of use to anybody.
  bool pointless() const { return calls.unwanted() || calls.ended() || failure; }

  net::Loop& loop;
  Service& service;
  std::shared_ptr<Hands> hands;
  const std::string session;
  const Bearer bearer;
  SessionOptions options;

  Calls calls;
  std::optional<Error> failure;  // the service refuses us for good
  bool stopping = false;
  std::optional<std::chrono::steady_clock::time_point> call_since;
  net::Event changed;  // something of the above
};

// Keeps `calls` up to date until the session is over, the service refuses us, or it is cancelled.
Task<void> follow(std::shared_ptr<SessionImpl> impl);

}  // namespace glovebox::runner
