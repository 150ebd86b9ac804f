// For tests: an engine as far as an orchestrator sees it, with boxes that come and go as the test
// likes.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
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
    boxes[id] = {name, status, "", 0, false};
    return id;
  }
  std::size_t count(const std::string& what) const {
    std::size_t n = 0;
    for (const std::string& line : seen) n += line.starts_with(what);
    return n;
  }

  std::map<std::string, FakeBox> boxes;     // by id
  std::map<std::string, FakeCall> calls;    // by Idempotency-Key
  std::vector<std::string> seen;            // "METHOD /path"
  std::vector<std::string> ended;           // keys
  std::deque<http::Response> answers;       // instead of what the next requests would get
  std::map<std::string, std::string> then;  // a box's status after it has been looked at once
  bool blocked = false;                     // tool calls wait
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
            {"POST", "/api/v1/tools/{tool}", http::Body::whole,
             [this](http::Request request) { return tool(std::move(request)); }, 1 << 20, true},
            route("DELETE", "/api/v1/tools/calls/{key}", &FakeEngine::end),
            route("GET", "/api/v1/trees", &FakeEngine::nothing),
            route("GET", "/api/v1/files", &FakeEngine::nothing)};
  }
  static http::Response error(int status, std::string code) {
    return http::json(status, str(R"({"error":"refused: )", code, R"(","code":")", code, "\"}"));
  }
  std::optional<http::Response> early(const http::Request& request) {
    seen.push_back(str(request.method, ' ', request.path));
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
    auto answer =
        http::json(200, str(R"({"id":")", id, R"(","status":")", boxes[id].status, "\"}"));
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
