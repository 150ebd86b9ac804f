// Takes deliveries of webhooks. One says that there may be work and nothing else is believed of it:
// what there is the queue knows. So it is checked, answered at once, and passed on as a hint, of
// which any number make one drain.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/secret.h"
#include "http/server.h"

namespace glovebox::orchestrator {

class Receiver {
 public:
  // Any of `keys` will do; of none, nothing will. nullopt: who delivers was checked before it could
  // reach us (a verified port of the ingress).
  using Keys = std::optional<std::vector<Secret>>;
  // `hint` passes it on; where that fails the sender is told to try again.
  using Hint = std::function<Task<void>()>;
  Receiver(Keys keys, Hint hint, const Clock& clock = system_clock());

  void set_keys(Keys keys);  // counts from the next delivery on

  //   POST /          a delivery: 200 {"status": "queued" | "duplicate" | "ignored"}, 401, or 503
  //   GET  /healthz   that this process answers, and nothing else
  std::vector<http::Route> routes();
  // Limits on everything: it may stand where strangers reach it.
  static http::ServerOptions server_options();

  struct Counts {
    std::uint64_t queued = 0, duplicates = 0, ignored = 0, refused = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  Task<http::Response> answer_to(http::Request request);
  Result<void> check(const http::Request& request) const;
  void forget_old();
  void remember(const std::string& id);
  void tell_refusal(const Error& error);

  Keys keys_;
  const Hint hint_;
  const Clock& clock_;
  Counts counts_;
  std::set<std::string, std::less<>> seen_;
  std::deque<std::pair<std::int64_t, std::string>> order_;  // of those, with their time
  std::int64_t told_ms_ = 0;  // of a refusal, in the log: strangers must not fill it
};

// The keys of a setting: one, or several with blanks between them while they are exchanged. An
// error for what cannot be one, and for none at all.
Result<std::vector<Secret>> signing_keys(std::string_view text);

}  // namespace glovebox::orchestrator
