// What is known of a session's tool calls: which are to be run, which wait for somebody's word, and
// which are settled. Fed with the history and with the stream, in any overlap; it does nothing by
// itself. Of settled calls only the id is kept.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runner/event.h"
#include "runner/idle_clock.h"

namespace glovebox::runner {

enum class Route {
  ignore,  // nobody can take an answer
  settle,  // denied: the service closes it, we say nothing
  run,
  hold,  // until somebody confirms
};
// A verdict that is not "allow" denies; a permission nobody knows holds.
Route route(bool thread_closed, const std::optional<std::string>& permission,
            const std::optional<std::string>& verdict);

// Ids of which only has to be known that they were there: eight bytes each. That two of a session's
// ids have the same 64-bit hash is not going to happen.
class IdSet {
 public:
  void insert(std::string_view id);
  bool contains(std::string_view id) const;

 private:
  std::vector<std::size_t> hashes_;  // sorted
};

class Calls {
 public:
  using Time = IdleClock::Time;
  using Has = std::function<bool(std::string_view tool)>;

  Calls(Millis max_idle, Has has) : has_(std::move(has)), clock_(max_idle) {}

  void live(const Event& event, Time now);

  // One reading of the history, from its first event on; live() may come in between, as may the
  // end of a running call.
  void begin_history();
  void history(const Event& event, Time now);
  void end_history(Time now);
  void fail_history(Time now);

  // The next one to run, first come first served; it is the running one until done().
  std::optional<Event> next();
  // The running one need not be answered any more: somebody did, or it was interrupted, or its
  // thread is closed.
  bool unwanted() const { return running_ && unwanted_; }
  // Answered, by whomever; else it is left as it is until the history is read again.
  void done(bool answered, Time now);

  bool ended() const { return ended_; }  // terminated or deleted, live
  // Calls of ours that wait, run, are held, or could not be answered; one where the history has not
  // been read, because there may be some.
  std::size_t open() const;
  std::optional<Time> deadline() const { return clock_.deadline(); }

 private:
  enum class Phase {
    open,  // seen, and nothing to be done: not ours, or given up for now
    held,
    queued,
    running,
  };
  struct Listed {
    Event call;
    bool is_new = false;  // this reading brought it
  };

  void settle(const std::string& id, Time now);
  void interrupt(const std::string& thread, Time now);
  void send(const Event& call, Time now);
  void apply(const Event& call, const std::string& verdict, Time now);
  void enqueue(const Event& call, bool approved, Time now);
  void drop_closed_threads(Time now);
  void note_thread(const Event& event);
  bool is_in(Phase phase, const std::string& id) const;
  bool closed(const Event& call) const;
  bool hit_by(const std::string& interrupted, const std::string& thread) const;
  std::optional<std::string> verdict_of(const std::string& id) const;

  Has has_;
  IdleClock clock_;
  std::unordered_map<std::string, Phase> phases_;  // of those that are not settled
  IdSet settled_;
  std::unordered_map<std::string, std::string> verdicts_;  // also of calls not yet seen
  std::vector<Event> held_;
  std::deque<Event> queue_;
  std::optional<Event> running_;
  bool unwanted_ = false;
  std::set<std::string> given_up_;  // ours, and open
  std::set<std::string> closed_threads_;
  std::string primary_thread_;
  bool from_the_start_ = false;  // no earlier event can turn up
  bool informed_ = false;        // the history was read once
  bool ended_ = false;

  // While the history is read: its unsettled calls so far, in its order.
  std::vector<Listed> listed_;
  bool ended_turn_ = false;
};

}  // namespace glovebox::runner
