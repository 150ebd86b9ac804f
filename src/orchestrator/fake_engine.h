// For tests: an engine as far as an orchestrator sees it, with boxes that come and go as the test
// likes.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "http/server.h"
#include "net/task.h"

namespace glovebox::orchestrator {

class FakeEngine {
 public:
  struct FakeBox {
    std::string name, status = "running", image;
    std::int64_t timeout_secs = 0;
    bool no_network = false;
    std::string pool = {};           // it was claimed from
    std::int64_t last_activity = 0;  // unix ms
  };
  struct FakeCall {
    std::string box, tool, input;
    int asked = 0;
  };

  explicit FakeEngine(net::Loop& loop) : server_(loop, routes(), {}) {
    auto bound = server_.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    if (bound) address_ = *bound;
  }
  std::string url() const { return "http://" + address_.text(); }
  Task<void> close() {
    blocked = false;
    changed.notify();
    return server_.drain(5s);
  }

  std::string add(const std::string& name, const std::string& status = "running") {
    std::string id = str("box", ++last_id_);
    boxes[id] = {.name = name, .status = status};
    return id;
  }
  std::size_t count(const std::string& what) const {
    std::size_t n = 0;
    for (const std::string& line : seen) n += line.starts_with(what);
    return n;
  }

  std::map<std::string, FakeBox> boxes;       // by id
  std::map<std::string, FakeCall> calls;      // by Idempotency-Key
  std::vector<std::string> seen;              // "METHOD /path"
  std::vector<std::string> ended;             // keys
  std::set<std::string> volumes;              // by name
  std::set<std::string> volumes_in_use;       // cannot be removed
  std::map<std::string, std::int64_t> pools;  // how many are kept ready, by id
  bool no_claims = false;                     // pools know nothing of names and volumes
  std::deque<http::Response> answers;         // instead of what the next requests would get
  std::map<std::string, std::string> then;    // a box's status after it has been looked at once
  bool blocked = false;                       // tool calls wait
  std::vector<std::int64_t> made_with;        // as many ready, the pools that were made
  std::function<void(const std::string&)> on_request;  // hears each line of `seen`
  net::Event changed;
  std::string result = R"({"content":"done","is_error":false})";
  Secret key{"engine-key"};

 private:
  using Handler = http::Response (FakeEngine::*)(const http::Request&);

  http::Route route(std::string method, std::string pattern, Handler handler) {
    return {std::move(method),
            std::move(pattern),
            http::Body::whole,
            [this, handler](http::Request request) { return serve(handler, std::move(request)); },
            1 << 20,
            true};
  }
  std::vector<http::Route> routes() {
    return {route("GET", "/sandboxes/{sbx}", &FakeEngine::get),
            route("POST", "/sandboxes", &FakeEngine::create),
            route("DELETE", "/sandboxes/{sbx}", &FakeEngine::remove),
            route("POST", "/sandboxes/{sbx}/resume", &FakeEngine::resume),
            route("POST", "/volumes", &FakeEngine::make_volume),
            route("DELETE", "/volumes/{volume}", &FakeEngine::remove_volume),
            route("POST", "/sandbox-pools", &FakeEngine::make_pool),
            route("PUT", "/sandbox-pools/{pool}", &FakeEngine::change_pool),
            route("DELETE", "/sandbox-pools/{pool}", &FakeEngine::remove_pool),
            route("POST", "/sandbox-pools/{pool}/sandboxes", &FakeEngine::claim),
            {"POST", "/api/v1/tools/{tool}", http::Body::whole,
             [this](http::Request request) { return tool(std::move(request)); }, 1 << 20, true},
            route("DELETE", "/api/v1/tools/calls/{key}", &FakeEngine::end),
            route("POST", "/api/v1/processes/run", &FakeEngine::no_programs),
            route("GET", "/api/v1/trees", &FakeEngine::nothing),
            route("GET", "/api/v1/files", &FakeEngine::nothing)};
  }
  static http::Response error(int status, std::string code) {
    return http::json(status, str(R"({"error":"refused: )", code, R"(","code":")", code, "\"}"));
  }
  std::optional<http::Response> early(const http::Request& request) {
    seen.push_back(str(request.method, ' ', request.path));
    if (on_request) on_request(seen.back());
    if (request.headers.get("Authorization") != str("Bearer ", key.reveal()))
      return error(401, "AUTH_REQUIRED");
    if (answers.empty()) return std::nullopt;
    http::Response answer = std::move(answers.front());
    answers.pop_front();
    return answer;
  }
  Task<http::Response> serve(Handler handler, http::Request request) {
    if (auto answer = early(request)) co_return std::move(*answer);
    co_return (this->*handler)(request);
  }

  std::string find(const std::string& id_or_name) {
    if (boxes.contains(id_or_name)) return id_or_name;
    for (const auto& [id, box] : boxes)
      if (box.name == id_or_name && box.status != "terminated") return id;
    return "";
  }
  // What stands between `start` and `end`; our own requests need no more of a parser.
  static std::string after(const std::string& text, std::string_view start, char end) {
    auto at = text.find(start);
    if (at == text.npos) return "";
    at += start.size();
    return text.substr(at, text.find(end, at) - at);
  }
  http::Response get(const http::Request& request) {
    std::string id = find(request.param("sbx"));
    if (id.empty()) return error(404, "SANDBOX_NOT_FOUND");
    auto answer = http::json(200, str(R"({"id":")", id, R"(","status":")", boxes[id].status,
                                      R"(","last_activity_at":)", boxes[id].last_activity, "}"));
    if (then.contains(id)) boxes[id].status = then[id];
    return answer;
  }
  http::Response create(const http::Request& request) {
    const std::string& body = request.body;
    std::string name = after(body, R"("name":")", '"');
    if (!find(name).empty()) return error(409, "NAME_TAKEN");
    std::string id = add(name);
    boxes[id].timeout_secs =
        parse_int<std::int64_t>(after(body, R"("timeout_secs":)", ',')).value_or(0);
    boxes[id].image = after(body, R"("image":")", '"');
    boxes[id].no_network = body.contains(R"("network":{"allow_internet_access":false})");
    return http::json(201, str(R"({"sandbox_id":")", id, R"(","status":"running"})"));
  }
  http::Response make_volume(const http::Request& request) {
    std::string name = after(request.body, R"("name":")", '"');
    if (!volumes.insert(name).second) return error(409, "NAME_TAKEN");
    return http::json(201, "{}");
  }
  http::Response remove_volume(const http::Request& request) {
    const std::string name = request.param("volume");
    if (volumes_in_use.contains(name)) return error(409, "FILE_SYSTEM_IN_USE");
    return volumes.erase(name) ? http::empty(204) : error(404, "FILE_SYSTEM_NOT_FOUND");
  }
  static std::int64_t warm_of(const http::Request& request) {
    return parse_int<std::int64_t>(after(request.body, R"("warm_containers":)", ',')).value_or(-1);
  }
  http::Response make_pool(const http::Request& request) {
    const std::string id = str("pool", made_with.size() + 1);
    made_with.push_back(pools[id] = warm_of(request));
    return http::json(201, str(R"({"pool_id":")", id, "\"}"));
  }
  http::Response change_pool(const http::Request& request) {
    const std::string id = request.param("pool");
    if (!pools.contains(id)) return error(404, "POOL_NOT_FOUND");
    pools[id] = warm_of(request);
    return http::json(200, "{}");
  }
  http::Response remove_pool(const http::Request& request) {
    return pools.erase(request.param("pool")) ? http::empty(204) : error(404, "POOL_NOT_FOUND");
  }
  http::Response claim(const http::Request& request) {
    if (!pools.contains(request.param("pool"))) return error(404, "POOL_NOT_FOUND");
    if (no_claims) return error(501, "NOT_IMPLEMENTED");
    std::string name = after(request.body, R"("name":")", '"');
    if (!find(name).empty()) return error(409, "NAME_TAKEN");
    std::string id = add(name);
    boxes[id].pool = request.param("pool");
    return http::json(201, str(R"({"sandbox_id":")", id, R"(","status":"running"})"));
  }
  http::Response remove(const http::Request& request) {
    std::string id = find(request.param("sbx"));
    if (!id.empty()) boxes[id].status = "terminated";
    return http::empty(204);
  }
  http::Response resume(const http::Request& request) {
    std::string id = find(request.param("sbx"));
    if (id.empty()) return error(404, "SANDBOX_NOT_FOUND");
    boxes[id].status = "running";
    return http::json(200, "{}");
  }
  Task<http::Response> tool(http::Request request) {
    if (auto answer = early(request)) co_return std::move(*answer);
    std::string id(request.headers.get("X-Tensorlake-Sandbox-Id").value_or(""));
    if (!boxes.contains(id)) co_return error(404, "SANDBOX_NOT_FOUND");
    if (boxes[id].status == "terminated") co_return error(410, "SANDBOX_TERMINATED");
    if (boxes[id].status != "running") co_return error(409, "SANDBOX_NOT_RUNNING");
    FakeCall& call = calls[std::string(request.headers.get("Idempotency-Key").value_or(""))];
    ++call.asked;
    call.box = id;
    call.tool = request.param("tool");
    call.input = request.body;
    while (blocked) CO_TRY_DO(co_await changed.wait(net::kForever));
    co_return http::json(200, result);
  }
  http::Response no_programs(const http::Request&) { return error(501, "NOT_IMPLEMENTED"); }
  http::Response nothing(const http::Request&) { return error(404, "NOT_FOUND"); }
  http::Response end(const http::Request& request) {
    ended.push_back(request.param("key"));
    return http::empty(204);
  }

  int last_id_ = 0;
  http::Server server_;
  net::Address address_;
};

}  // namespace glovebox::orchestrator
