#include "brain/session_world.h"

#include <boost/json.hpp>

#include "brain/ids.h"
#include "brain/json_read.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

Task<ModelReply> FakeModel::ask(std::string request, ModelListener listener) {
  requests.push_back(std::move(request));
  if (replies.empty()) {
    auto waited = co_await net::sleep(std::chrono::hours(1));
    ++cancelled;
    co_return std::move(waited.error());
  }
  Next next = std::move(replies.front());
  replies.pop_front();
  CO_TRY_DO(co_await net::yield());
  if (next.before) next.before(listener);
  co_return std::move(next.reply);
}

void FakeModel::text(std::string words, std::string stop_reason) {
  json::array content{json::object{{"type", "text"}, {"text", words}}};
  replies.push_back({ModelReply{.content = json::serialize(content),
                                .stop_reason = std::move(stop_reason),
                                .usage = R"({"input_tokens":10,"output_tokens":5})"}});
}

void FakeModel::calls(std::vector<std::pair<std::string, std::string>> calls, std::string words) {
  json::array content;
  if (!words.empty()) content.push_back({{"type", "text"}, {"text", words}});
  for (auto& [name, input] : calls)
    content.push_back({{"type", "tool_use"},
                       {"id", str("toolu_", content.size())},
                       {"name", name},
                       {"input", json::parse(input)}});
  replies.push_back({ModelReply{.content = json::serialize(content),
                                .stop_reason = "tool_use",
                                .usage = R"({"input_tokens":10,"output_tokens":5})"}});
}

std::string agent_json(std::string tools) {
  return str(R"({"type":"agent","id":"agent_1","version":1,"name":"tester","system":"Be brief.",)",
             R"("model":{"id":"claude-test"},"tools":)", tools, "}");
}

World::World(std::string agent, Model* other_model, SessionStore* other_store)
    : sqlite(std::move(*SqliteStore::open(":memory:"))),
      store(other_store ? other_store : sqlite.get()),
      model(other_model ? other_model : &fake) {
  restart();
  auto made = sessions->create({.environment_id = "env_1",
                                .agent_id = "agent_1",
                                .agent_version = 1,
                                .agent = std::move(agent)},
                               {});
  EXPECT_TRUE(made) << made.error().what;
  id = made->id;
}

World::~World() {
  if (!sessions) return;
  auto closed = net::run(loop, sessions->close(5s));
  EXPECT_TRUE(closed) << closed.error().what;
}

void World::restart(SessionStore* other_store) {
  if (sessions) EXPECT_TRUE(net::run(loop, sessions->close(5s)));
  sessions.reset();
  log.reset();
  store = other_store ? other_store : sqlite.get();
  log = std::make_unique<EventLog>(loop, *store);
  sessions = std::make_unique<Sessions>(loop, *store, *log, queue, *model, options);
}

std::vector<Event> World::send(const std::string& events) {
  auto sent = sessions->send(id, json::parse(events).as_array());
  EXPECT_TRUE(sent) << sent.error().what;
  return sent ? *sent : std::vector<Event>();
}

std::string World::refused(const std::string& events) {
  auto sent = sessions->send(id, json::parse(events).as_array());
  EXPECT_FALSE(sent);
  if (sent) return "";
  EXPECT_EQ(sent.error().code, Code::invalid);
  return sent.error().what;
}

void World::say(const std::string& text) {
  send(str(R"([{"type":"user.message","content":[{"type":"text","text":")", json_escape(text),
           R"("}]}])"));
}

void World::answer(const std::string& call, const std::string& text, bool failed) {
  send(str(R"([{"type":"user.tool_result","tool_use_id":")", call, R"(","is_error":)", failed,
           R"(,"content":[{"type":"text","text":")", json_escape(text), R"("}]}])"));
}

namespace {

Task<void> some_rounds() {
  for (int i = 0; i < 200; ++i) CO_TRY_DO(co_await net::yield());
  co_return ok;
}

Task<void> until(std::function<bool()> done) {
  for (int i = 0; i < 5'000; ++i) {
    if (done()) co_return ok;
    CO_TRY_DO(co_await net::sleep(1ms));
  }
  co_return Error{Code::timeout, "what the test waits for did not come"};
}

}  // namespace

void World::settle() { EXPECT_TRUE(net::run(loop, some_rounds())); }

void World::run_until(std::function<bool()> done) {
  auto ran = net::run(loop, until(std::move(done)));
  EXPECT_TRUE(ran) << ran.error().what << ": " << testing::PrintToString(types());
}

std::vector<Event> World::events() {
  auto all = sqlite->events(id, {.limit = 100'000});
  EXPECT_TRUE(all);
  return all ? *all : std::vector<Event>();
}

std::vector<std::string> World::types_after(std::int64_t seq) {
  std::vector<std::string> types;
  for (const Event& event : events())
    if (event.seq > seq) types.push_back(event.type);
  return types;
}
std::vector<std::string> World::types() { return types_after(0); }

std::string World::last(std::string_view type) {
  std::string found;
  for (const Event& event : events())
    if (event.type == type) found = render(event);
  return found;
}

std::vector<std::string> World::ids(std::string_view type) {
  std::vector<std::string> ids;
  for (const Event& event : events())
    if (event.type == type) ids.push_back(event.id);
  return ids;
}

SessionRow World::row() { return *sqlite->session(id); }

std::vector<std::string> World::open_calls() {
  std::vector<std::string> ids;
  json::object idle = parse_object(last("session.status_idle"));
  if (const json::object* reason = object_of(idle, "stop_reason"))
    if (const json::array* list = array_of(*reason, "event_ids"))
      for (const json::value& id : *list) ids.emplace_back(id.as_string());
  return ids;
}

}  // namespace glovebox::brain
