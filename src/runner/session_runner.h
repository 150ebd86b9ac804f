// Runs the tool calls of one session: follows its events, executes what is open, posts the results.
// It knows nothing of leases, and nothing of where hands come from.
//
// Two tasks: one reads the stream and keeps `Calls` up to date, the other runs the calls one after
// another. So an interrupt, somebody else's answer or the end of the session is noticed at once,
// while a tool runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "net/loop.h"
#include "runner/hands.h"
#include "runner/service.h"

namespace glovebox::runner {

struct SessionOptions {
  Millis max_idle{60'000};      // after the end of a turn; 0: for ever
  Millis tool_limit{120'000};   // of one attempt at a call
  Millis tool_grace{2'000};     // the tools have the same limit, and say it better: theirs is first
  Millis cancel_limit{30'000};  // a cancelled call has this long to end
  int hand_attempts = 3;        // then the call is answered with the error
  Millis first_hand_retry{1'000};
  Millis send_window{300'000};  // a result is sent again and again for this long
  Millis first_send_retry{1'000}, longest_send_retry{30'000};
  Millis first_reconnect{500}, longest_reconnect{10'000};
  Millis relist{10'000};  // after a history that could not be read, while the stream goes on
};

class SessionRunner {
 public:
  enum class End {
    idle,        // nobody wanted anything for max_idle
    terminated,  // the session is over
    asked,       // stop()
  };

  SessionRunner(net::Loop& loop, Service& service, std::shared_ptr<Hands> hands,
                std::string session, Bearer bearer, SessionOptions options);
  ~SessionRunner();

  // An error: the service refuses us for good, or Code::cancelled.
  Task<End> run();

  void stop();                          // no further call; the one that runs may finish
  void set_send_window(Millis window);  // also of a result being sent now
  std::size_t open_calls() const;       // of ours, without an answer
  Millis stalled_for() const;           // how long the present call has been under way; 0: none is

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};
std::string_view name(SessionRunner::End end);

}  // namespace glovebox::runner
