// The life of sessions: what clients send, what the model answers, when a turn starts, waits and
// ends. Everything that appends an event to a session goes through here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "brain/event_log.h"
#include "brain/store.h"
#include "brain/work_queue.h"
#include "net/loop.h"

namespace boost::json {
class array;
class object;
}  // namespace boost::json

namespace glovebox::brain {

class Announcer;
class Model;

struct SessionsOptions {
  // A worker that stops an item with calls still open gets a new item after these waits; when they
  // are used up the session stays in requires_action until somebody says something.
  std::vector<Millis> requeue_after{0ms, 1s, 4s, 16s, 60s};
  // What a turn does when the store fails under it: try again, from what the log says.
  Millis first_retry{1'000}, longest_retry{60'000};
  Announcer* announcer = nullptr;  // of what becomes of sessions
};

class Sessions {
 public:
  // All of them outlive this.
  Sessions(net::Loop& loop, SessionStore& store, EventLog& log, WorkQueue& queue, Model& model,
           SessionsOptions options = {});
  ~Sessions();

  // After a start: turns that were running go on where the log says they were.
  Result<void> recover();
  // Stops what runs between two durable steps; the next start goes on from there.
  Task<void> close(Millis limit);

  // Checks the shape and the meaning of all of `events` (§6.4), appends all or none, and sets off
  // what follows. Gives them back as stored. Errors name the member: "events[0].content: …".
  Result<std::vector<Event>> send(std::string_view session, const boost::json::array& events);
  // A row that is complete but for id, status and times; `initial_events` may be empty.
  Result<SessionRow> create(SessionRow row, const boost::json::array& initial_events);
  // Saves the row and appends session.updated with `changed`, the changed members.
  Result<void> update(const SessionRow& row, const boost::json::object& changed);
  // A running session is refused: interrupt first.
  Result<SessionRow> archive(std::string_view session);
  Result<void> remove(std::string_view session);
  // What keeps whoever works for the session from doing so, said as session.error.
  Result<void> report(std::string_view session, std::string_view message);

  std::size_t running() const;  // turns under way

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::brain
