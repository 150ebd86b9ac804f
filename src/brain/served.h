// The whole brain behind its HTTP API, as tests use it.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>

#include "base/random.h"
#include "brain/brain.h"
#include "http/client.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

struct Answer {
  int status = 0;
  http::Headers headers;
  json::value body;
  std::string text(std::string_view pointer) const {
    boost::json::error_code error;
    const json::value* found = body.find_pointer(pointer, error);
    return !found               ? "(none)"
           : found->is_string() ? std::string(found->get_string())
                                : json::serialize(*found);
  }
  std::string error() const { return text("/error/type"); }
};

inline const std::string kApi = "gb-api-test", kEnv = "gb-env-test", kMetrics = "metrics-test";

class Served : public testing::Test {
 protected:
  explicit Served(std::string state_dir = "", bool webhooks_allow_private = false)
      : state_dir_(std::move(state_dir)), webhooks_allow_private_(webhooks_allow_private) {
    start();
  }
  ~Served() override { stop(); }

  void start() {
    run(open(*this));
    server_.emplace(loop_, brain_->routes(), brain_->server_options());
    auto at = server_->listen(net::Address{.host = "127.0.0.1"});
    ASSERT_TRUE(at);
    http::Url url{.scheme = "http", .host = "127.0.0.1", .port = at->port};
    client_.emplace(loop_, url);
    if (environment_.empty()) {
      auto status = get("/glovebox/v1/status");
      environment_ = status.text("/default_environment_id");
      agent_ = status.text("/default_agent_id");
    }
  }
  void stop() {
    client_.reset();
    run(brain_->close(5s));
    run(server_->drain(5s));
    server_.reset();
    brain_.reset();
  }

  Answer call(std::string method, std::string target, std::string body = "", std::string key = kApi,
              http::Headers headers = {}) {
    if (!key.empty()) headers.set("Authorization", "Bearer " + key);
    Answer answer;
    run(ask(*client_, method, target, body, headers, answer));
    return answer;
  }
  Answer get(std::string target, std::string key = kApi) { return call("GET", target, "", key); }
  Answer post(std::string target, std::string body = "", std::string key = kApi) {
    return call("POST", target, body, key);
  }
  // The id of something new.
  std::string make(std::string target, std::string body) {
    auto answer = post(target, body);
    EXPECT_EQ(answer.status, 200) << json::serialize(answer.body);
    return answer.text("/id");
  }
  std::string make_session(std::string more = "") {
    return make("/v1/sessions", str(R"({"agent":")", agent_, R"(","environment_id":")",
                                    environment_, '"', more, '}'));
  }
  // A session with a call open, claimed: its work item and sessions token.
  struct Claimed {
    std::string session, work, token;
  };
  Claimed claim(std::string more = "") {
    Claimed claimed;
    claimed.session = make_session(str(
        R"(,"initial_events":[{"type":"user.message","content":[{"type":"text","text":"run `true`"}]}])",
        more));
    Answer work;
    for (int i = 0; i < 50 && work.text("/id") == "(none)"; ++i)
      work = get(work_path("/poll?block_ms=100"), kEnv);
    claimed.work = work.text("/id");
    auto secret = unbase64url(work.text("/secret"));
    EXPECT_TRUE(secret);
    claimed.token = json::parse(secret.value_or("{}")).at("sessions_token").as_string();
    EXPECT_EQ(post(work_path("/" + claimed.work + "/ack"), "", kEnv).text("/state"), "starting");
    return claimed;
  }
  std::string work_path(std::string rest) {
    return str("/v1/environments/", environment_, "/work", rest);
  }
  std::string metrics_body() {
    Result<http::ClientResponse> answer = Error{};
    run(fetch(*client_, "GET", "/metrics", "", {}, kMetrics, answer));
    return answer ? answer->body : "";
  }

  static Task<void> fetch(http::Client& client, std::string method, std::string target,
                          std::string body, http::Headers headers, std::string key,
                          Result<http::ClientResponse>& into) {
    if (!key.empty()) headers.set("Authorization", "Bearer " + key);
    into = co_await client.call(method, target, body, headers);
    co_return ok;
  }

  net::Loop loop_;
  std::string state_dir_;
  bool webhooks_allow_private_;
  std::unique_ptr<Brain> brain_;
  std::optional<http::Server> server_;
  std::optional<http::Client> client_;
  std::string environment_, agent_;

 protected:
  void run(Task<void> task) {
    auto ran = net::run(loop_, std::move(task));
    EXPECT_TRUE(ran) << ran.error().what;
  }
  static Task<void> open(Served& self) {
    Options options{.state_dir = self.state_dir_,
                    .instance = "test",
                    .webhooks_allow_private = self.webhooks_allow_private_};
    CO_TRY(brain, co_await Brain::open(self.loop_, std::move(options),
                                       {Secret(kApi), Secret(kMetrics), Secret(kEnv)}));
    self.brain_ = std::move(brain);
    co_return ok;
  }
  static Task<void> ask(http::Client& client, std::string method, std::string target,
                        std::string body, http::Headers headers, Answer& into) {
    CO_TRY(answer, co_await client.call(method, target, body, headers));
    into.status = answer.status;
    into.headers = std::move(answer.headers);
    json::error_code error;
    into.body = json::parse(answer.body, error);
    co_return ok;
  }
};

struct TempDir {
  std::string path = str(std::filesystem::temp_directory_path().string(), "/brain-", random_id(12));
  TempDir() { std::filesystem::create_directory(path); }
  ~TempDir() { std::filesystem::remove_all(path); }
};
struct Kept : private TempDir, Served {
  Kept() : Served(path) {}
};

}  // namespace glovebox::brain
