// For tests: a store that passes everything on.
#pragma once

#include "brain/store.h"

namespace glovebox::brain {

// Counts the events that are read, how often anybody asked, and how much text came.
class WatchedStore : public SessionStore {
 public:
  explicit WatchedStore(SessionStore& store) : store_(store) {}

  Result<void> add_session(const SessionRow& row) override { return store_.add_session(row); }
  Result<SessionRow> session(std::string_view id) override { return store_.session(id); }
  Result<void> save_session(const SessionRow& row) override { return store_.save_session(row); }
  Result<void> remove_session(std::string_view id) override { return store_.remove_session(id); }
  Result<std::vector<std::string>> unfinished_sessions() override {
    return store_.unfinished_sessions();
  }
  Result<void> append(std::string_view session, std::vector<Event>& events) override {
    return store_.append(session, events);
  }
  Result<std::vector<Event>> events(std::string_view session, const EventQuery& query) override {
    auto found = store_.events(session, query);
    ++asked;
    if (!found) return found;
    read += static_cast<int>(found->size());
    for (const Event& event : *found) text += event.json.size() + event.memo.size();
    return found;
  }
  Result<std::int64_t> last_seq(std::string_view session) override {
    return store_.last_seq(session);
  }
  Result<void> set_processed(std::string_view session, std::int64_t seq, Micros at) override {
    return store_.set_processed(session, seq, at);
  }
  Result<void> atomically(const std::function<Result<void>()>& work) override {
    return store_.atomically(work);
  }

  int read = 0, asked = 0;
  std::size_t text = 0;

 private:
  SessionStore& store_;
};

}  // namespace glovebox::brain
