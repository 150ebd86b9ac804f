// For tests of this folder and of those who build on it: the service as far as a worker sees it, on
// a free port of loopback, with a history, streams, a queue, and faults on demand.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "http/server.h"
#include "net/task.h"
#include "runner/hands.h"
#include "runner/service.h"

namespace glovebox::runner {

// Waits for a condition, with a deadline far beyond what it needs.
template <class Condition>
Task<void> until(Condition condition, std::string what = "the condition") {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) co_return ok;
    CO_TRY_DO(co_await net::sleep(1ms));
  }
  co_return Error{Code::timeout, str("never came: ", what)};
}

inline Bearer key(std::string value = "gb-env-test") {
  return std::make_shared<const Secret>(std::move(value));
}

class FakeService {
 public:
  struct Session {
    std::string status = "idle";
    std::string metadata = "{}", archived_at = "null";  // JSON
    std::vector<std::string> events;                    // history, as JSON
    int streams = 0;                                    // opened so far
    int attached = 0;                                   // open now
    int generation = 0;                                 // raised to end the open streams
    net::Event changed;
  };
  struct Item {
    std::string json, state = "queued", last;
    int acks = 0, beats = 0, stops = 0, forced = 0;
    bool handed_out = false;
  };
  struct Seen {
    std::string verb, target, bearer, body;
    http::Headers headers;
  };
  struct Fault {
    int status = 500;
    bool after = false;  // the request counts all the same
    std::string body = R"({"type":"error","error":{"type":"api_error","message":"made to fail"}})";
    http::Headers headers;
  };

  explicit FakeService(net::Loop& loop) : server_(loop, routes(), {}) {
    auto bound = server_.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    if (bound) address_ = *bound;
  }

  std::string url() const { return "http://" + address_.text(); }
  Service::Options options() const {
    Service::Options options;
    options.url = *http::Url::parse(url());
    options.first_retry = 1ms;
    options.longest_retry = 4ms;
    return options;
  }
  Task<void> close() {
    for (auto& [id, session] : sessions_) cut_streams(id);
    held_.clear();
    released_.notify();
    queued_.notify();
    co_return co_await server_.drain(5s);
  }

  // ---- what there is
  Session& session(const std::string& id = "sesn_1") { return sessions_[id]; }
  void forget(const std::string& id) { sessions_.erase(id); }
  Item& item(const std::string& id = "work_1") { return items_[id]; }
  bool has_item(const std::string& id) const { return items_.contains(id); }
  Item& queue(const std::string& work, const std::string& session, const std::string& secret = "") {
    sessions_.try_emplace(session);
    Item& item = items_[work];
    item.json = str(R"({"type":"work","id":")", work, R"(","environment_id":")", environment,
                    R"(","data":{"type":"session","id":")", session,
                    R"("},"state":"queued","metadata":{},"secret":)",
                    secret.empty() ? "null" : str('"', secret, '"'), "}");
    order_.push_back(work);
    queued_.notify();
    return item;
  }
  // Appended to the history, and told to every open stream.
  void say(const std::string& json, const std::string& id = "sesn_1") {
    sessions_[id].events.push_back(json);
    sessions_[id].changed.notify();
  }
  void cut_streams(const std::string& id = "sesn_1") {
    ++sessions_[id].generation;
    sessions_[id].changed.notify();
  }
  // The next requests of that verb fail, in this order: "poll", "ack", "heartbeat", "stop",
  // "session", "stream", "events", "send", "credential", "stats".
  void fail(const std::string& verb, std::vector<Fault> faults) {
    for (Fault& fault : faults) faults_[verb].push_back(std::move(fault));
  }
  // Requests of that verb wait.
  void hold(const std::string& verb) { held_.insert(verb); }
  void release(const std::string& verb) {
    held_.erase(verb);
    released_.notify();
  }

  std::map<std::string, std::string> answers;  // of skills and memories, by "METHOD /path"
  std::vector<Seen> seen;                      // every request
  std::size_t count(const std::string& verb) const {
    std::size_t n = 0;
    for (const Seen& one : seen) n += one.verb == verb;
    return n;
  }
  std::vector<std::string> posted;  // events sent by workers, in order
  int workers_polling = 1, depth = 0;
  std::size_t page_limit = 0;  // of a page of the history; 0: what the worker asks for
  std::int64_t ttl_seconds = 300;
  std::string environment = "env_1";
  bool ours = true;                                 // has /glovebox/v1/credential
  std::function<void(const std::string&)> on_post;  // after an event of a worker was taken

 private:
  using Handler = http::Response (FakeService::*)(const http::Request&);

  http::Route route(std::string verb, std::string method, std::string pattern, Handler handler,
                    http::Body body = http::Body::none) {
    return {std::move(method),
            std::move(pattern),
            body,
            [this, verb, handler](http::Request request) {
              return serve(verb, handler, std::move(request));
            },
            32 << 20,
            true};
  }

  std::vector<http::Route> routes() {
    const std::string work = "/v1/environments/{env}/work/";
    const std::string session = "/v1/sessions/{session}";
    using enum http::Body;
    return {
        route("poll", "GET", work + "poll", &FakeService::poll),
        route("stats", "GET", work + "stats", &FakeService::stats),
        route("ack", "POST", work + "{work}/ack", &FakeService::ack, whole),
        route("heartbeat", "POST", work + "{work}/heartbeat", &FakeService::heartbeat, whole),
        route("stop", "POST", work + "{work}/stop", &FakeService::stop, whole),
        route("session", "GET", session, &FakeService::get_session),
        route("stream", "GET", session + "/events/stream", &FakeService::stream),
        route("events", "GET", session + "/events", &FakeService::list),
        route("send", "POST", session + "/events", &FakeService::send, whole),
        route("credential", "GET", "/glovebox/v1/credential", &FakeService::credential),
        route("skill", "GET", "/v1/skills/{skill}/versions/{version}", &FakeService::given),
        route("skill", "GET", "/v1/skills/{skill}/versions/{version}/content", &FakeService::given),
        route("memories", "GET", "/v1/memory_stores/{store}/memories", &FakeService::given),
        route("remember", "POST", "/v1/memory_stores/{store}/memories", &FakeService::given, whole),
    };
  }

  Task<http::Response> serve(std::string verb, Handler handler, http::Request request) {
    seen.push_back({verb, request.path + (request.query.empty() ? "" : "?" + request.query),
                    std::string(request.headers.get("Authorization").value_or("")), request.body,
                    request.headers});
    while (held_.contains(verb)) CO_TRY_DO(co_await released_.wait(net::kForever));
    auto& faults = faults_[verb];
    if (!faults.empty()) {
      Fault fault = std::move(faults.front());
      faults.pop_front();
      if (fault.after) (void)(this->*handler)(request);
      http::Response answer = http::json(fault.status, fault.body);
      for (const auto& [name, value] : fault.headers.all()) answer.headers.set(name, value);
      co_return answer;
    }
    if (verb == "poll" && request.query_value("block_ms") && !next_item()) {
      auto waited = co_await queued_.wait(
          Millis(parse_int<int>(*request.query_value("block_ms")).value_or(1)));
      if (!waited && waited.error().code == Code::cancelled) co_return waited.error();
    }
    co_return (this->*handler)(request);
  }

  static http::Response error(int status, std::string message, std::string details = "null") {
    return http::json(status, str(R"({"type":"error","error":{"type":"x","message":")", message,
                                  R"(","details":)", details, "}}"));
  }

  Item* next_item() {
    for (const std::string& id : order_)
      if (Item& item = items_[id]; item.state == "queued" && !item.handed_out) return &item;
    return nullptr;
  }
  http::Response poll(const http::Request&) {
    Item* item = next_item();
    if (!item) return http::json(200, "null");
    item->handed_out = true;
    return http::json(200, item->json);
  }
  http::Response stats(const http::Request&) {
    return http::json(200,
                      str(R"({"type":"work_queue_stats","depth":)", depth, R"(,"pending":0,)",
                          R"("oldest_queued_at":null,"workers_polling":)", workers_polling, "}"));
  }
  http::Response ack(const http::Request& request) {
    Item& item = items_[request.param("work")];
    ++item.acks;
    item.state = "starting";
    return http::json(200, item.json);
  }
  http::Response heartbeat(const http::Request& request) {
    Item& item = items_[request.param("work")];
    ++item.beats;
    auto expected = request.query_value("expected_last_heartbeat").value_or("");
    const bool ending = item.state == "stopping" || item.state == "stopped";
    if (!ending && expected != (item.last.empty() ? "NO_HEARTBEAT" : item.last))
      return error(
          412, "lease is held by another worker",
          str(R"({"error_code":"heartbeat_precondition_failed","current_state":{"state":")",
              item.state, R"(","last_heartbeat":")", item.last,
              R"(","lease_extended":false,"ttl_seconds":)", ttl_seconds, "}}"));
    if (!ending) {
      item.state = "active";
      item.last = str("beat-", item.beats);
    }
    return http::json(200, str(R"({"type":"work_heartbeat","last_heartbeat":")", item.last,
                               R"(","lease_extended":)", ending ? "false" : "true", R"(,"state":")",
                               item.state, R"(","ttl_seconds":)", ttl_seconds, "}"));
  }
  http::Response stop(const http::Request& request) {
    Item& item = items_[request.param("work")];
    ++item.stops;
    item.forced += request.body.find(R"("force":true)") != std::string::npos;
    if (item.state == "stopped") {
      auto answer = error(409, "stopped already");
      answer.headers.set("x-should-retry", "false");
      return answer;
    }
    item.state = "stopped";
    return http::empty(204);
  }
  http::Response get_session(const http::Request& request) {
    auto found = sessions_.find(request.param("session"));
    if (found == sessions_.end()) return error(404, "no such session");
    return http::json(
        200, str(R"({"type":"session","id":")", found->first, R"(","status":")",
                 found->second.status, R"(","agent":{"skills":[]},"resources":[],"metadata":)",
                 found->second.metadata, R"(,"archived_at":)", found->second.archived_at, "}"));
  }
  http::Response list(const http::Request& request) {
    Session& session = sessions_[request.param("session")];
    auto from = parse_int<std::size_t>(request.query_value("page").value_or("0")).value_or(0);
    auto limit = parse_int<std::size_t>(request.query_value("limit").value_or("1000")).value_or(1);
    if (page_limit) limit = std::min(limit, page_limit);
    std::string data;
    std::size_t at = from;
    for (; at < session.events.size() && at < from + limit; ++at)
      data += (at == from ? "" : ",") + session.events[at];
    return http::json(200, str(R"({"data":[)", data, R"(],"next_page":)",
                               at < session.events.size() ? str('"', at, '"') : "null", "}"));
  }
  http::Response stream(const http::Request& request) {
    Session& session = sessions_[request.param("session")];
    ++session.streams;
    http::Response answer;
    answer.headers.set("Content-Type", "text/event-stream");
    answer.stream = [this, &session, from = session.events.size(),
                     generation = session.generation](http::BodyWriter& writer) {
      return tell(session, from, generation, writer);
    };
    return answer;
  }
  Task<void> tell(Session& session, std::size_t at, int generation, http::BodyWriter& writer) {
    struct Attached {
      Session& session;
      explicit Attached(Session& to) : session(to) { ++session.attached; }
      ~Attached() { --session.attached; }
    } attached(session);
    CO_TRY_DO(co_await writer.write("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
    while (generation == session.generation) {
      for (; at < session.events.size(); ++at)
        CO_TRY_DO(co_await writer.write(str("event: message\ndata: ", session.events[at], "\n\n")));
      auto waited = co_await session.changed.wait(net::kForever);
      if (!waited) co_return waited;
    }
    co_return ok;
  }
  http::Response send(const http::Request& request) {
    // One event in each, as our Service writes it.
    constexpr std::string_view kBefore = R"({"events":[)", kAfter = "]}";
    std::string_view event = request.body;
    EXPECT_TRUE(event.starts_with(kBefore) && event.ends_with(kAfter)) << event;
    event = event.substr(kBefore.size(), event.size() - kBefore.size() - kAfter.size());
    posted.emplace_back(event);
    say(str(R"({"id":"sevt_posted_)", posted.size(), R"(",)", event.substr(1)),
        request.param("session"));
    if (on_post) on_post(posted.back());
    return http::json(200, R"({"data":[]})");
  }
  http::Response given(const http::Request& request) {
    auto found = answers.find(str(request.method, ' ', request.path));
    if (found == answers.end()) return error(404, "there is nothing");
    return http::json(200, found->second);
  }
  http::Response credential(const http::Request&) {
    if (!ours) return error(404, "no such route");
    return http::json(200,
                      str(R"({"kind":"environment","environment_id":")", environment, R"("})"));
  }

  std::map<std::string, Session> sessions_;
  std::map<std::string, Item> items_;
  std::vector<std::string> order_;
  std::map<std::string, std::deque<Fault>> faults_;
  std::set<std::string> held_;
  net::Event released_, queued_;
  http::Server server_;
  net::Address address_;
};

// Hands whose every word the test decides.
class FakeHands : public Hands {
 public:
  bool has(std::string_view tool) const override { return tools.contains(std::string(tool)); }
  Task<ToolResult> call(ToolCall call) override {
    calls.push_back(call);
    ++running;
    struct Left {
      FakeHands& hands;
      ~Left() { --hands.running; }
    } left{*this};
    while (blocked) {
      auto waited = co_await changed.wait(net::kForever);
      if (!waited) {
        ++cancelled;
        co_return waited.error();
      }
    }
    if (!failures.empty()) {
      Error error = failures.front();
      failures.pop_front();
      co_return error;
    }
    co_return result;
  }
  Task<void> open() override {
    if (cannot_open) co_return *cannot_open;
    co_return ok;
  }
  Task<void> close(End how) override {
    ++closed;
    end = how;
    co_return ok;
  }
  std::uint64_t place() const override { return at; }
  void let_go() {
    blocked = false;
    changed.notify();
  }

  std::set<std::string> tools = {"bash", "read"};
  ToolResult result{R"("done")", false};
  std::deque<Error> failures;
  bool blocked = false;
  net::Event changed;
  std::vector<ToolCall> calls;
  int running = 0, cancelled = 0, closed = 0;
  std::optional<Error> cannot_open;
  std::optional<End> end;
  std::uint64_t at = 1;
};

// Events as the service writes them.
inline std::string tool_use(std::string id, std::string name = "bash", std::string more = "") {
  return str(R"({"type":"agent.tool_use","id":")", id, R"(","name":")", name,
             R"(","input":{"command":"ls"})", more.empty() ? "" : "," + more, "}");
}
inline std::string tool_result(std::string call) {
  return str(R"({"type":"user.tool_result","id":"r_)", call, R"(","tool_use_id":")", call,
             R"(","content":[],"is_error":false})");
}
inline std::string confirmation(std::string call, std::string result) {
  return str(R"({"type":"user.tool_confirmation","id":"c_)", call, R"(","tool_use_id":")", call,
             R"(","result":")", result, R"("})");
}
inline std::string idle(std::string reason) {
  return str(R"({"type":"session.status_idle","id":"i_)", reason, R"(","stop_reason":{"type":")",
             reason, R"("},"stop_details":null})");
}
inline std::string plain_event(std::string type, std::string thread = "") {
  return str(R"({"type":")", type, R"(","id":"e_)", type, '"',
             thread.empty() ? "" : str(R"(,"session_thread_id":")", thread, '"'), "}");
}

}  // namespace glovebox::runner
