// One step of a session: events are applied to its state as they are added, so that each next one
// is decided by the state it will meet, and commit() makes all of it durable at once, or nothing.
// Between two commits a kill -9 may come: there must be nothing left to do that the log does not
// say.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brain/client_events.h"
#include "brain/event_log.h"
#include "brain/session_state.h"
#include "brain/store.h"
#include "brain/webhooks.h"
#include "brain/work_queue.h"

namespace glovebox::brain {

std::string primary_thread(std::string_view session);  // sesn_01… → sthr_01…

class Change {
 public:
  Change(SessionRow row, SessionState state) : row(std::move(row)), state(std::move(state)) {
    open_before_ = this->state.open.size();
  }

  SessionRow row;
  SessionState state;
  std::vector<Event> events;

  // `members`: what the event has beside type and id, as it stands in JSON; `call`: of a result,
  // what it answers. Gives its id.
  std::string add(std::string_view type, std::string_view members = "", std::string memo = "",
                  std::string call = "");
  std::string add_with_id(std::string id, std::string_view type, std::string_view members);
  // Client events: stamped on receipt, or when they have waited for their turn.
  void add_stamped(const ClientEvent& event);
  void add_waiting(const ClientEvent& event) { add_client(event, 0); }

  void start_turn();     // takes up every message that waits
  void continue_turn();  // all calls are closed, or a pause is over
  void reschedule();
  void idle(std::string_view stop_reason, std::string_view stop_details = "null");
  void wait_for_calls();  // idle with requires_action, naming the calls that are open
  void interrupt();
  void still_idle();  // after an event that is no part of a turn
  void terminate();
  // What follows when no more events are to come: a turn goes on when its last call was closed, the
  // rest is named again when some were, the next one starts when a message waits.
  void settle();
  void end_request(std::string_view is_error, std::string_view usage, std::string memo);
  void error(std::string_view type, std::string_view message, std::string_view retry_status);
  void refuse_call(std::string_view id, std::string_view text);  // agent.tool_result, is_error
  void want_worker() { wants_worker_ = true; }
  void tell(std::string_view type) { news_.push_back(type); }  // the endpoints of webhooks

  bool active() const {
    return state.phase == Phase::running || state.phase == Phase::rescheduling;
  }
  bool interrupted() const { return interrupted_; }  // a turn that runs is not to go on

  // `is_new`: the row is inserted first. `announcer` may be null.
  Result<void> commit(SessionStore& store, EventLog& log, WorkQueue& queue, Announcer* announcer,
                      bool is_new = false);

 private:
  void add_client(const ClientEvent& event, Micros processed_at, std::string memo = "");
  void put(Event event);
  void leave_running();
  const std::string& thread_members();

  std::size_t open_before_ = 0;
  std::string thread_;  // thread_members(), once it was asked for: an agent may be long
  bool wants_worker_ = false;
  bool interrupted_ = false;
  bool stops_work_ = false;
  std::vector<std::string_view> news_;
  std::vector<std::pair<std::int64_t, Micros>> applied_;  // seq of stored messages, and when
};

}  // namespace glovebox::brain
