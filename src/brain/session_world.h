// For the tests of sessions: a store in memory, a queue that counts, a model that says what it is
// told, and one session.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "brain/model.h"
#include "brain/sessions.h"
#include "brain/sqlite_store.h"

namespace glovebox::brain {

// A model that gives the next of `replies`; without one it waits until it is cancelled.
class FakeModel final : public Model {
 public:
  struct Next {
    Result<ModelReply> reply;
    std::function<void(const ModelListener&)> before = {};
  };
  std::string kind() const override { return "fake"; }
  std::string describe() const override { return "fake"; }
  std::int64_t context_tokens() const override { return tokens; }
  Task<ModelReply> ask(std::string request, ModelListener listener) override;

  void text(std::string words, std::string stop_reason = "end_turn");
  // {"bash", R"({"command":"ls"})"} …; each call gets an id of its own.
  void calls(std::vector<std::pair<std::string, std::string>> calls, std::string words = "");
  void fails(Error error) { replies.push_back({std::move(error)}); }

  std::deque<Next> replies;
  std::vector<std::string> requests;
  std::int64_t tokens = 150'000;
  int cancelled = 0;
};

class FakeQueue final : public WorkQueue {
 public:
  Result<void> ensure_item(std::string_view, std::string_view) override {
    ++ensured;
    return ok;
  }
  Result<void> stop_items(std::string_view) override {
    ++stopped;
    return ok;
  }
  int ensured = 0, stopped = 0;
};

std::string agent_json(std::string tools = R"([{"type":"agent_toolset_20260401"}])");

struct World {
  explicit World(std::string agent = agent_json(), Model* other_model = nullptr,
                 SessionStore* other_store = nullptr);
  ~World();

  // What a client does; errors are failures of the test unless told otherwise.
  std::vector<Event> send(const std::string& events);
  std::string refused(const std::string& events);  // the error's words
  void say(const std::string& text);
  void answer(const std::string& call, const std::string& text, bool failed = false);

  void settle();  // runs the loop until nothing is left to do at once
  void run_until(std::function<bool()> done);
  void restart(SessionStore* other_store = nullptr);  // as after a kill: only the store is left

  std::vector<Event> events();
  std::vector<std::string> types();  // of all events, short: "user.message", …
  std::vector<std::string> types_after(std::int64_t seq);
  std::string last(std::string_view type);  // the last one of a type, rendered; "" if none
  std::vector<std::string> ids(std::string_view type);
  SessionRow row();
  std::vector<std::string> open_calls();  // event_ids of the last requires_action

  net::Loop loop;
  std::unique_ptr<SqliteStore> sqlite;
  SessionStore* store = nullptr;
  FakeQueue queue;
  FakeModel fake;
  Model* model = nullptr;
  SessionsOptions options{.requeue_after = {0ms, 0ms}, .first_retry = 1ms, .longest_retry = 2ms};
  std::unique_ptr<EventLog> log;
  std::unique_ptr<Sessions> sessions;
  std::string id;
};

}  // namespace glovebox::brain
