// The Managed Agents API as a worker uses it: each call is one request, with the core client's
// rules for retries. The bearer is per call: the environment's key, or the token of one item.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"
#include "http/client.h"
#include "net/loop.h"
#include "runner/event.h"
#include "runner/work.h"

namespace glovebox::runner {

// Shared, because a key may be changed while calls go on with it.
using Bearer = std::shared_ptr<const Secret>;

// The errors of a Service: `code` follows the HTTP status, `tag` is the status ("404"); both are
// the connection's own where no answer came.
int status_of(const Error& error);  // 0: no answer
// An answer that will not become better: any 4xx but 408, 409 and 429.
bool fatal(const Error& error);

class EventStream {
 public:
  virtual ~EventStream() = default;
  virtual Task<std::optional<Event>> next() = 0;  // nullopt at a clean end
};

struct Poll {
  std::string environment;
  std::string worker_id;
  std::optional<int> block_ms, reclaim_older_than_ms;
};

struct Session {
  std::string id, status;
  std::string json;  // all of it: agent, skills, resources
};

class Service {
 public:
  struct Options {
    http::Url url;
    http::ClientOptions client;
    http::Headers headers;  // of every request: an operator's, which beat our general ones
    int retries = 2;        // after the first attempt
    Millis first_retry{500}, longest_retry{8'000};
    Millis short_limit{60'000};          // of one attempt that has nothing to wait for
    Millis long_limit{600'000};          // of one with much to carry
    std::size_t event_limit = 40 << 20;  // of one event on a stream
  };
  Service(net::Loop& loop, Options options);
  ~Service();

  Task<std::optional<Work>> poll(Poll poll, Bearer bearer);
  Task<void> ack(std::string environment, std::string work, Bearer bearer);
  // `expected` is "NO_HEARTBEAT" or the last one's last_heartbeat. A 412 is an answer here.
  Task<Beat> heartbeat(std::string environment, std::string work, std::string expected,
                       Bearer bearer);
  enum class Stop { gracefully, by_force };
  // An item that is stopped already is stopped.
  Task<void> stop(std::string environment, std::string work, Stop how, Bearer bearer);

  Task<Session> session(std::string session, Bearer bearer);
  Task<std::unique_ptr<EventStream>> stream(std::string session, Bearer bearer);
  // One page of the history, oldest first; `cursor` is "" for the first.
  Task<EventPage> events(std::string session, std::string cursor, int limit, Bearer bearer);
  Task<void> send(std::string session, std::string event_json, Bearer bearer);

  // Anything else: the body of a 2xx answer.
  enum class Family { agents, skills, memory };  // each has a beta header of its own, or none
  Task<std::string> call(std::string method, std::string target, std::string body, Family family,
                         Bearer bearer);
  Task<std::string> get(std::string target, Bearer bearer);
  // One that is no JSON, as it comes.
  Task<http::StreamResponse> open_download(std::string target, Bearer bearer);
  // The same as a whole. Code::too_large over `limit`.
  Task<std::string> download(std::string target, std::size_t limit, Bearer bearer);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::runner
