#include "runner/calls.h"

#include <algorithm>
#include <utility>

namespace glovebox::runner {

using Kind = Event::Kind;

Route route(bool thread_closed, const std::optional<std::string>& permission,
            const std::optional<std::string>& verdict) {
  if (thread_closed) return Route::ignore;
  if (permission == "deny") return Route::settle;
  if (verdict) return *verdict == "allow" ? Route::run : Route::settle;
  if (!permission || permission == "allow") return Route::run;
  return Route::hold;
}

void IdSet::insert(std::string_view id) {
  const std::size_t hash = std::hash<std::string_view>()(id);
  auto at = std::ranges::lower_bound(hashes_, hash);
  if (at == hashes_.end() || *at != hash) hashes_.insert(at, hash);
}

bool IdSet::contains(std::string_view id) const {
  return std::ranges::binary_search(hashes_, std::hash<std::string_view>()(id));
}

void Calls::live(const Event& event, Time now) {
  clock_.note(event, now);
  note_thread(event);
  switch (event.kind) {
    case Kind::tool_use:
      if (event.id.empty() || settled_.contains(event.id)) break;
      if (phases_.try_emplace(event.id, Phase::open).second) send(event, now);
      break;
    case Kind::confirmation: {
      if (settled_.contains(event.call)) break;
      verdicts_[event.call] = event.verdict;
      auto held = std::ranges::find(held_, event.call, &Event::id);
      if (held != held_.end()) apply(Event(*held), event.verdict, now);
      break;
    }
    case Kind::result: settle(event.call, now); break;
    case Kind::interrupt: interrupt(event.thread, now); break;
    case Kind::thread_terminated: drop_closed_threads(now); break;
    case Kind::session_terminated:
    case Kind::session_deleted: ended_ = true; break;
    case Kind::idle:
    case Kind::thread_status:
    case Kind::other: break;
  }
}

void Calls::begin_history() {
  listed_ = {};
  ended_turn_ = false;
  from_the_start_ = true;
}

void Calls::history(const Event& event, Time now) {
  if (!IdleClock::neutral(event)) ended_turn_ = event.ends_turn;
  note_thread(event);
  switch (event.kind) {
    case Kind::tool_use:
      if (event.id.empty() || settled_.contains(event.id)) break;
      listed_.push_back({event, phases_.try_emplace(event.id, Phase::open).second});
      break;
    case Kind::result:
      settle(event.call, now);
      std::erase_if(listed_, [&](const Listed& one) { return one.call.id == event.call; });
      break;
    case Kind::confirmation:
      if (!settled_.contains(event.call)) verdicts_[event.call] = event.verdict;
      break;
    case Kind::interrupt:
      // Of those before it: it says nothing about calls made since, which may be running.
      std::erase_if(listed_, [&](const Listed& one) {
        if (!hit_by(event.thread, one.call.thread)) return false;
        settle(one.call.id, now);
        return true;
      });
      break;
    case Kind::thread_terminated:
    case Kind::idle:
    case Kind::thread_status:
    case Kind::session_terminated:  // told again on the stream, where it is still so
    case Kind::session_deleted:
    case Kind::other: break;
  }
}

void Calls::end_history(Time now) {
  informed_ = true;
  clock_.history_read(true);
  drop_closed_threads(now);
  // A countdown from before must not run out while what was found is routed.
  clock_.disarm();
  const std::vector<Listed> listed = std::exchange(listed_, {});
  // One that is held, queued or running already is where it belongs.
  for (const Listed& one : listed)
    if (is_in(Phase::open, one.call.id)) send(one.call, now);
  for (const Event& call : std::vector<Event>(held_))
    if (auto verdict = verdict_of(call.id)) apply(call, *verdict, now);
  bool outstanding = std::ranges::any_of(listed, [&](const Listed& one) {
    return is_in(Phase::open, one.call.id) && !closed(one.call);
  });
  if (ended_turn_ && !outstanding)
    clock_.arm(now);
  else
    clock_.disarm();
}

void Calls::fail_history(Time now) {
  for (const Listed& one : std::exchange(listed_, {}))
    if (one.is_new && is_in(Phase::open, one.call.id)) phases_.erase(one.call.id);
  from_the_start_ = false;
  clock_.history_read(false);
  drop_closed_threads(now);
}

std::optional<Event> Calls::next() {
  if (running_ || queue_.empty()) return std::nullopt;
  running_ = std::move(queue_.front());
  queue_.pop_front();
  unwanted_ = false;
  phases_[running_->id] = Phase::running;
  return running_;
}

void Calls::done(bool answered, Time now) {
  if (!running_) return;
  const std::string id = std::exchange(running_, std::nullopt)->id;
  if (answered || unwanted_) return settle(id, now);
  phases_[id] = Phase::open;
  given_up_.insert(id);
  clock_.unblock(id, now);
}

std::size_t Calls::open() const {
  if (!informed_) return 1;
  return held_.size() + queue_.size() + given_up_.size() + (running_ && !unwanted_ ? 1 : 0);
}

void Calls::settle(const std::string& id, Time now) {
  if (id.empty()) return;
  verdicts_.erase(id);
  given_up_.erase(id);
  if (running_ && running_->id == id) {  // done() does the rest
    unwanted_ = true;
    return;
  }
  auto is_it = [&](const Event& call) { return call.id == id; };
  std::erase_if(held_, is_it);
  std::erase_if(queue_, is_it);
  phases_.erase(id);
  settled_.insert(id);
  clock_.unblock(id, now);
}

void Calls::interrupt(const std::string& thread, Time now) {
  std::vector<std::string> hit;
  auto look_at = [&](const Event& call) {
    if (hit_by(thread, call.thread)) hit.push_back(call.id);
  };
  std::ranges::for_each(held_, look_at);
  std::ranges::for_each(queue_, look_at);
  if (running_) look_at(*running_);
  for (const std::string& id : hit) settle(id, now);
}

// Sends an open call where it belongs.
void Calls::send(const Event& call, Time now) {
  auto verdict = verdict_of(call.id);
  switch (route(closed(call), call.permission, verdict)) {
    case Route::ignore: break;
    case Route::settle: settle(call.id, now); break;
    case Route::run: enqueue(call, verdict.has_value(), now); break;
    case Route::hold:
      phases_[call.id] = Phase::held;
      held_.push_back(call);
      clock_.block(call.id);
      break;
  }
}

void Calls::apply(const Event& call, const std::string& verdict, Time now) {
  if (verdict != "allow") return settle(call.id, now);
  std::erase_if(held_, [&](const Event& held) { return held.id == call.id; });
  enqueue(call, true, now);
}

void Calls::enqueue(const Event& call, bool approved, Time now) {
  if (!has_(call.name)) {
    // Somebody else's, who still has to answer: an approval must not start the countdown.
    phases_[call.id] = Phase::open;
    if (approved) clock_.disarm();
    clock_.unblock(call.id, now);
    return;
  }
  phases_[call.id] = Phase::queued;
  given_up_.erase(call.id);
  queue_.push_back(call);
  clock_.block(call.id);
}

// A closed thread takes no answer: what waits there is over, without a word from us.
void Calls::drop_closed_threads(Time now) {
  if (closed_threads_.empty()) return;
  auto drop = [&](auto& calls) {
    std::vector<std::string> dropped;
    for (const Event& call : calls)
      if (closed(call)) dropped.push_back(call.id);
    std::erase_if(calls, [&](const Event& call) { return closed(call); });
    for (const std::string& id : dropped) {
      phases_[id] = Phase::open;
      clock_.abandon(id, now);
    }
  };
  drop(held_);
  drop(queue_);
  if (running_ && closed(*running_)) unwanted_ = true;
}

void Calls::note_thread(const Event& event) {
  if (event.thread.empty()) return;
  if (event.kind == Kind::thread_terminated) closed_threads_.insert(event.thread);
  // The first of all: child threads start after the primary one has.
  if (event.kind == Kind::thread_status && primary_thread_.empty() && from_the_start_)
    primary_thread_ = event.thread;
}

bool Calls::is_in(Phase phase, const std::string& id) const {
  auto found = phases_.find(id);
  return found != phases_.end() && found->second == phase;
}

bool Calls::closed(const Event& call) const {
  return !call.thread.empty() && closed_threads_.contains(call.thread);
}

bool Calls::hit_by(const std::string& interrupted, const std::string& thread) const {
  if (interrupted.empty() || interrupted == thread) return true;
  return thread.empty() && interrupted == primary_thread_;
}

std::optional<std::string> Calls::verdict_of(const std::string& id) const {
  auto found = verdicts_.find(id);
  return found == verdicts_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace glovebox::runner
