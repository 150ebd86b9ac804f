// Events: appended to the store first, then told to whoever follows. A follower holds nothing but
// its place: it reads from the store what comes after, so a slow reader costs no memory and holds
// up nobody.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "brain/store.h"
#include "net/loop.h"

namespace glovebox::brain {

class EventLog {
 public:
  EventLog(net::Loop& loop, SessionStore& store);
  ~EventLog();

  // Durable against a killed process when it returns; followers wake.
  Result<void> append(std::string_view session, std::vector<Event>& events);
  // After events were appended to the store directly: wakes followers. Inside a transaction either
  // will do: they look when the loop gets to them, and find what was committed.
  void published(std::string_view session);
  // A preview (§6.8): `json` is an event_start or event_delta, and reaches only the followers that
  // asked for `about` ("agent.message", "agent.thinking"). Never stored. A follower that is behind
  // misses the rest of that event's previews, never some in the middle.
  void preview(std::string_view session, std::string_view about, std::string json);
  void deleted(std::string_view session);  // a last session.deleted for each follower, then the end

  // One who follows a session from now on.
  class Follower {
   public:
    ~Follower();
    // The next ones, at least one: stored events as rendered JSON, previews as they are. An empty
    // list after `limit` without any (time for a ping). Code::gone at the end.
    Task<std::vector<std::string>> next(Millis limit);

   private:
    friend class EventLog;
    struct State;
    explicit Follower(std::shared_ptr<State> state);
    std::shared_ptr<State> state_;
  };
  // Of what comes from now on. Code::not_found where there is no such session.
  Result<std::unique_ptr<Follower>> follow(std::string session, std::vector<std::string> previews);
  std::size_t followers() const;
  void end();  // of all streams, without a last word: clients come again elsewhere

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // followers may outlive the log: they find it gone
};

}  // namespace glovebox::brain
