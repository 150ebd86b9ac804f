#include "brain/event_log.h"

#include <algorithm>
#include <boost/json.hpp>
#include <deque>
#include <unordered_map>

#include "base/metrics.h"
#include "brain/ids.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

metrics::Gauge g_followers("brain_streams", "Followers of sessions' events.");
metrics::Counter g_shed("brain_previews_shed_total",
                        "Previews not sent because the follower was behind.");

constexpr int kBatch = 64;                    // events read at a time
constexpr std::size_t kBatchBytes = 1 << 20;  // and how much of them
constexpr std::size_t kMaxPreviews = 256;     // waiting for one follower

struct Preview {
  std::int64_t after = 0;  // comes behind the event of this seq
  std::string json;
};

// Which event a preview is of, and whether it is the first of it.
struct PreviewHead {
  std::string id;
  bool start = false;
};

PreviewHead head_of(const std::string& json) {
  boost::json::error_code error;
  auto value = boost::json::parse(json, error);
  const auto* object = value.if_object();
  if (error || !object) return {};
  auto text = [](const boost::json::object& from, std::string_view key) -> std::string {
    const auto* found = from.if_contains(key);
    const auto* string = found ? found->if_string() : nullptr;
    return string ? std::string(*string) : "";
  };
  if (text(*object, "type") != "event_start") return {text(*object, "event_id"), false};
  const auto* event = object->if_contains("event");
  return {event && event->is_object() ? text(event->get_object(), "id") : "", true};
}

}  // namespace

struct EventLog::Follower::State {
  std::weak_ptr<Impl> log;
  std::string session;
  std::vector<std::string> wanted;  // kinds of previews
  std::int64_t seen = 0;            // seq of the last event given out
  std::deque<Preview> previews;
  std::vector<std::string> open;  // events whose previews it has from the start on
  bool deleted = false, ended = false;
  net::Event changed;
};

struct EventLog::Impl {
  using State = Follower::State;
  SessionStore& store;
  std::unordered_map<std::string, std::vector<State*>> followers;
  std::size_t count = 0;
  bool ended = false;

  explicit Impl(SessionStore& store) : store(store) {}

  template <class Do>
  void each_of(std::string_view session, Do&& what) {
    auto found = followers.find(std::string(session));
    if (found == followers.end()) return;
    for (State* state : found->second) {
      what(*state);
      state->changed.notify();
    }
  }

  void remove(State* state) {
    auto found = followers.find(state->session);
    if (found == followers.end() || std::erase(found->second, state) == 0) return;
    if (found->second.empty()) followers.erase(found);
    --count;
    g_followers.add(-1);
  }

  // Events after what it has seen, previews where they belong among them.
  Result<std::vector<std::string>> collect(State& state) {
    TRY(events,
        store.events(
            state.session,
            {.after = state.seen, .limit = kBatch, .max_bytes = kBatchBytes, .with_memo = false}));
    std::vector<std::string> out;
    auto previews_before = [&](std::int64_t seq) {
      for (; !state.previews.empty() && state.previews.front().after < seq;
           state.previews.pop_front())
        out.push_back(std::move(state.previews.front().json));
    };
    for (const Event& event : events) {
      previews_before(event.seq);
      out.push_back(render(event));
      state.seen = event.seq;
      std::erase(state.open, event.id);  // the whole event is the last word on it
    }
    previews_before(state.seen + 1);
    return out;
  }
};

EventLog::EventLog(net::Loop&, SessionStore& store) : impl_(std::make_shared<Impl>(store)) {}

void EventLog::end() {
  impl_->ended = true;
  for (auto& [session, states] : impl_->followers)
    for (auto* state : states) {
      state->ended = true;
      state->changed.notify();
    }
}

EventLog::~EventLog() {
  end();
  g_followers.add(-static_cast<std::int64_t>(impl_->count));
}

Result<void> EventLog::append(std::string_view session, std::vector<Event>& events) {
  TRY_DO(impl_->store.append(session, events));
  published(session);
  return ok;
}

void EventLog::published(std::string_view session) {
  impl_->each_of(session, [](auto&) {});
}

void EventLog::preview(std::string_view session, std::string_view about, std::string json) {
  auto found = impl_->followers.find(std::string(session));
  if (found == impl_->followers.end()) return;
  std::int64_t last = -1;
  PreviewHead head;
  for (auto* state : found->second) {
    if (std::ranges::find(state->wanted, about) == state->wanted.end()) continue;
    if (last < 0) {  // the first who wants it
      head = head_of(json);
      last = impl_->store.last_seq(session).value_or(0);
    }
    auto open = std::ranges::find(state->open, head.id);
    if (!head.start && open == state->open.end()) continue;  // it does not have the beginning
    if (state->previews.size() >= kMaxPreviews) {
      g_shed.add();
      if (open != state->open.end()) state->open.erase(open);
      continue;
    }
    if (head.start && open == state->open.end()) state->open.push_back(head.id);
    state->previews.push_back({last, json});
    state->changed.notify();
  }
}

void EventLog::deleted(std::string_view session) {
  impl_->each_of(session, [](auto& state) { state.deleted = true; });
}

Result<std::unique_ptr<EventLog::Follower>> EventLog::follow(std::string session,
                                                             std::vector<std::string> previews) {
  if (impl_->ended) return Error{Code::unavailable, "the brain is closing"};
  TRY(seen, impl_->store.last_seq(session));
  auto state = std::make_shared<Follower::State>();
  state->log = impl_;
  state->session = std::move(session);
  state->wanted = std::move(previews);
  state->seen = seen;
  impl_->followers[state->session].push_back(state.get());
  ++impl_->count;
  g_followers.add(1);
  return std::unique_ptr<Follower>(new Follower(std::move(state)));
}

std::size_t EventLog::followers() const { return impl_->count; }

EventLog::Follower::Follower(std::shared_ptr<State> state) : state_(std::move(state)) {}

EventLog::Follower::~Follower() {
  if (auto log = state_->log.lock()) log->remove(state_.get());
}

Task<std::vector<std::string>> EventLog::Follower::next(Millis limit) {
  auto state = state_;
  net::Deadline deadline(limit);
  for (;;) {
    auto log = state->log.lock();
    if (!log || state->ended) co_return Error{Code::gone, "the end of the stream"};
    if (state->deleted) {
      state->ended = true;
      Event last{.id = new_id("sevt"), .type = "session.deleted", .processed_at = now_us()};
      last.json = str(R"({"id":")", last.id, R"(","type":"session.deleted"})");
      co_return std::vector<std::string>{render(last)};
    }
    CO_TRY(found, log->collect(*state));
    if (!found.empty()) co_return found;
    log.reset();  // nobody who only waits keeps the log
    auto changed = co_await state->changed.wait(deadline.left());
    if (!changed && changed.error().code == Code::timeout) co_return std::vector<std::string>{};
    if (!changed) co_return std::move(changed.error());
  }
}

}  // namespace glovebox::brain
