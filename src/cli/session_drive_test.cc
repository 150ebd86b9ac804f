// Driving a session against a brain that is a table of routes.
#include "cli/session_drive.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "cli/commands.h"
#include "http/server.h"
#include "net/task.h"

namespace glovebox::cli {
namespace {

namespace json = boost::json;

// A brain that says what a test wrote down. The client's loop runs both.
struct FakeBrain {
  struct Script {
    std::vector<std::vector<std::string>> streams;  // what each connection says before it ends
    std::vector<std::string> history;               // newest first
    bool in_line = false;                           // the message waits
    std::string taken_at;                           // of the message, as the list says
    std::vector<std::string> posted;
  } script;
  std::size_t opened = 0;
  int lose_answers = 0;     // of the next posts: the connection is cut behind them
  bool forget = false;      // what was said in a post whose answer is lost
  bool until_told = false;  // the last event comes once the person was told something
  net::Event told;
  int signal = 0;           // comes before the last event, which comes once an interrupt has
  bool again = false;       // … a second time, in place of that
  int lose_interrupts = 0;  // so many posts of one
  bool ill = false;         // streams but the first are refused with 503
  int refusals = 0;         // of that many streams
  bool interrupted = false;
  std::unique_ptr<http::Server> server;
  net::Event posted;

  static Task<void> write_stream(FakeBrain* self, http::BodyWriter* out) {
    std::size_t number = self->opened++;
    if (number < self->script.streams.size()) {
      while (number == 0 && self->script.posted.empty()) CO_TRY_DO(co_await self->posted.wait(5s));
      for (const std::string& event : self->script.streams[number]) {
        if (event == self->script.streams[number].back() && self->signal)
          CO_TRY_DO(co_await send_signal(self));
        if (event == self->script.streams[number].back() && self->until_told)
          CO_TRY_DO(co_await self->told.wait(10s));
        CO_TRY_DO(co_await out->write(http::encode(http::SseEvent{"message", event, ""})));
      }
    }
    if (number + 1 >= self->script.streams.size()) CO_TRY_DO(co_await net::sleep(30s));
    co_return ok;
  }
  static Task<void> send_signal(FakeBrain* self) {
    ::kill(::getpid(), self->signal);
    while (!self->interrupted) CO_TRY_DO(co_await self->posted.wait(10s));
    if (!self->again) co_return ok;
    ::kill(::getpid(), self->signal);
    co_return co_await net::sleep(10s);
  }
  static Task<http::Response> stream(FakeBrain* self) {
    if ((self->ill && self->opened > 0) || self->refusals-- > 0)
      co_return http::json(503, R"({"error":{"message":"ill"}})");
    http::Response response;
    response.headers.set("Content-Type", "text/event-stream");
    response.stream = [self](http::BodyWriter& out) { return write_stream(self, &out); };
    co_return response;
  }
  static Task<http::Response> post(FakeBrain* self, std::string body) {
    const bool interrupt = body.contains("user.interrupt");
    if (interrupt && self->lose_interrupts-- > 0)
      co_return http::json(503, R"({"error":{"message":"try again"}})");
    self->interrupted |= interrupt;
    bool lost = self->lose_answers > 0 && self->lose_answers-- > 0;
    if (!lost || !self->forget) self->script.posted.push_back(body);
    self->posted.notify();
    if (lost) {
      http::Response cut;
      cut.stream = [](http::BodyWriter&) -> Task<void> {
        co_return Error{Code::unavailable, "cut"};
      };
      co_return cut;
    }
    std::string at = self->script.in_line ? "null" : "\"2026-01-01T00:00:01.000000Z\"";
    co_return http::json(
        200, R"({"data":[{"id":"sevt_mine","type":"user.message","processed_at":)" + at + "}]}");
  }
  static Task<http::Response> list(FakeBrain* self, std::string query) {
    std::string data;
    if (query.contains("limit=1&")) {
      if (!self->script.posted.empty())
        data =
            R"({"id":"sevt_mine","type":"user.message","processed_at":"2026-01-01T00:00:01.000000Z","content":[{"type":"text","text":"do it"}]})";
    } else if (query.contains("types")) {
      data = R"({"id":"sevt_mine","type":"user.message","processed_at":)" +
             (self->script.taken_at.empty() ? "null" : "\"" + self->script.taken_at + "\"") + "}";
    } else {
      for (const std::string& event : self->script.history)
        data += (data.empty() ? "" : ",") + event;
    }
    co_return http::json(200, "{\"data\":[" + data + "],\"next_page\":null}");
  }

  static Task<http::Response> stats() {
    co_return http::json(200, R"({"type":"work_queue_stats","depth":1,"workers_polling":0})");
  }

  // On a socket that listens already: the client was told where.
  void serve(net::Loop& loop, Fd listening) {
    std::vector<http::Route> routes;
    routes.push_back({"GET", "/v1/sessions/{id}/events/stream", http::Body::none,
                      [this](http::Request) { return stream(this); }});
    routes.push_back({"POST", "/v1/sessions/{id}/events", http::Body::whole,
                      [this](http::Request request) { return post(this, request.body); }});
    routes.push_back({"GET", "/v1/sessions/{id}/events", http::Body::none,
                      [this](http::Request request) { return list(this, request.query); }});
    routes.push_back({"GET", "/v1/environments/{id}/work/stats", http::Body::none,
                      [](http::Request) { return stats(); }});
    server = std::make_unique<http::Server>(loop, std::move(routes), http::ServerOptions{});
    EXPECT_TRUE(server->adopt(std::move(listening)));
  }
};

constexpr const char* kMine =
    R"({"id":"sevt_mine","type":"user.message","content":[{"type":"text","text":"do it"}]})";
constexpr const char* kRunning = R"({"id":"sevt_1","type":"session.status_running"})";
constexpr const char* kCall =
    R"({"id":"sevt_2","type":"agent.tool_use","name":"bash","input":{"command":"ls"}})";
constexpr const char* kWaits =
    R"({"id":"sevt_3","type":"session.status_idle","stop_reason":{"type":"requires_action","event_ids":["sevt_2"]}})";
constexpr const char* kResult =
    R"({"id":"sevt_4","type":"user.tool_result","tool_use_id":"sevt_2","content":"a.txt"})";
constexpr const char* kGoesOn = R"({"id":"sevt_5","type":"session.status_running"})";
constexpr const char* kSays =
    R"({"id":"sevt_6","type":"agent.message","content":[{"type":"text","text":"Done."}]})";
constexpr const char* kEnd =
    R"({"id":"sevt_7","type":"session.status_idle","processed_at":"2026-01-01T00:00:09.000000Z","stop_reason":{"type":"end_turn"}})";

class Drive : public testing::Test {
 protected:
  using How = Driven::How;
  // The exit code; the brain stops serving after it.
  int run(std::optional<std::string> prompt, bool json = false) {
    auto socket = net::Listener::bind(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(socket);
    sockaddr_in own{};
    socklen_t size = sizeof own;
    ::getsockname(socket->get(), reinterpret_cast<sockaddr*>(&own), &size);
    Context context;
    context.url = str("http://127.0.0.1:", ntohs(own.sin_port));
    auto client = BrainClient::open(context);
    EXPECT_TRUE(client);
    brain.serve((*client)->loop(), std::move(*socket));
    Output output(
        Output::Format::text, [this](std::string_view text) { return out += text, ok; },
        [this](std::string_view text) { return err += text, brain.told.notify(), ok; });
    auto end = drive(**client,
                     {.session = "sesn_1",
                      .prompt = std::move(prompt),
                      .json = json,
                      .fresh = true,
                      .environment = "env_1",
                      .patience = 20ms,
                      .lost_after = lost_after},
                     output);
    brain.server.reset();
    if (!end) err += end.error().what;
    return end ? end->code() : -1;
  }
  FakeBrain brain;
  std::string out, err;
  Millis lost_after{30'000};
};

TEST_F(Drive, ShowsATurnAsAPersonReadsIt) {
  brain.script.streams = {{kMine, kRunning, kCall, kWaits, kResult, kGoesOn, kSays, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_EQ(out, "· running\n→ bash  ls\n← a.txt\n\nDone.\n\n· done (end_turn)\n");
  ASSERT_EQ(brain.script.posted.size(), 1u);
  EXPECT_EQ(brain.script.posted[0],
            R"({"events":[{"type":"user.message","content":[{"type":"text","text":"do it"}]}]})");
}

TEST_F(Drive, ABrokenStreamIsOpenedAgainAndNothingIsShownTwice) {
  brain.script.streams = {{kMine, kRunning, kCall}, {kEnd, kSays}};
  // What came meanwhile is in the history, newest first; older turns are of no interest.
  brain.script.history = {kSays, kResult,
                          kCall, kRunning,
                          kMine, R"({"id":"sevt_0","type":"agent.message","content":"old"})"};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_EQ(out, "· running\n→ bash  ls\n← a.txt\n\nDone.\n\n· done (end_turn)\n");
}

TEST_F(Drive, TheEndOfAnEarlierTurnIsNotOurs) {
  brain.script.streams = {
      {R"({"id":"sevt_0","type":"session.status_idle","stop_reason":{"type":"retries_exhausted"}})",
       kMine, kRunning, kSays, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
}

TEST_F(Drive, AMessageInLineIsAnsweredByTheTurnThatTookIt) {
  brain.script.in_line = true;
  brain.script.taken_at = "2026-01-01T00:00:05.000000Z";
  brain.script.streams = {
      {kMine,
       R"({"id":"sevt_0","type":"session.status_idle","processed_at":"2026-01-01T00:00:04.000000Z","stop_reason":{"type":"end_turn"}})",
       kRunning, kSays, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_NE(out.find("Done."), out.npos);
}

TEST_F(Drive, AMessageWhoseAnswerIsLostIsSaidOnce) {
  brain.lose_answers = 1;
  brain.script.streams = {{kMine, kRunning, kSays, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_EQ(brain.script.posted.size(), 1u);
}

TEST_F(Drive, AMessageThatDidNotArriveIsSaidAgain) {
  brain.lose_answers = 1;
  brain.forget = true;
  brain.script.streams = {{kMine, kRunning, kSays, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_EQ(brain.script.posted.size(), 1u);
}

TEST_F(Drive, FollowsTheLastTurnWithoutAPrompt) {
  brain.script.history = {kEnd, kSays, kRunning, kMine,
                          R"({"id":"sevt_0","type":"agent.message","content":"old"})"};
  EXPECT_EQ(run(std::nullopt), 0) << err;
  EXPECT_EQ(out, "> do it\n· running\n\nDone.\n\n· done (end_turn)\n");
  EXPECT_TRUE(brain.script.posted.empty());
}

TEST_F(Drive, FailuresAndTheEndOfASessionHaveExitCodesOfTheirOwn) {
  constexpr std::pair<const char*, int> kEnds[] = {
      {R"({"id":"sevt_8","type":"session.status_idle","stop_reason":{"type":"refusal"}})", 1},
      {R"({"id":"sevt_8","type":"session.status_idle","stop_reason":{"type":"retries_exhausted"}})",
       1},
      {R"({"id":"sevt_8","type":"session.status_terminated"})", 5},
      {R"({"id":"sevt_8","type":"session.deleted"})", 5}};
  for (auto [end, code] : kEnds) {
    brain = FakeBrain();
    brain.script.streams = {{kMine, kRunning, end}};
    EXPECT_EQ(run("do it"), code) << end;
  }
}

TEST_F(Drive, ABrainThatDoesNotComeBackIsLost) {
  lost_after = 300ms;
  brain.script.streams = {{kMine, kRunning}, {}, {}};
  brain.ill = true;
  EXPECT_EQ(run("do it"), 6) << err;
  EXPECT_NE(err.find("does not come back"), err.npos) << err;
}

TEST_F(Drive, AStreamThatIsRefusedAtFirstIsAskedForAgain) {
  brain.script.streams = {{kMine, kRunning, kSays, kEnd}};
  brain.refusals = 2;
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_NE(err.find("trying again"), err.npos) << err;
  EXPECT_EQ(err.find("trying again"), err.rfind("trying again")) << err;
}

TEST_F(Drive, AnErrorThatIsTriedAgainIsNoFailure) {
  for (auto [status, code] : {std::pair{"retrying", 0}, {"exhausted", 1}}) {
    brain = FakeBrain();
    err.clear();
    std::string error = str(
        R"({"id":"sevt_8","type":"session.error","error":{"type":"model_overloaded_error","message":"busy","retry_status":{"type":")",
        status, "\"}}}");
    brain.script.streams = {{kMine, kRunning, error, kEnd}};
    EXPECT_EQ(run("do it"), code);
    EXPECT_NE(err.find("✗ model_overloaded_error: busy"), err.npos) << err;
  }
}

TEST_F(Drive, InAPipeItSaysHowToAllowACall) {
  std::string ask =
      R"({"id":"sevt_2","type":"agent.tool_use","name":"bash","input":{"command":"ls"},"evaluated_permission":"ask"})";
  std::string verdict =
      R"({"id":"sevt_9","type":"user.tool_confirmation","tool_use_id":"sevt_2","result":"allow"})";
  brain.script.streams = {{kMine, kRunning, ask, kWaits, verdict, kGoesOn, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_NE(err.find("glovebox sessions confirm sesn_1 sevt_2 allow|deny"), err.npos) << err;
  EXPECT_NE(out.find("· requires_action"), out.npos) << out;
  EXPECT_NE(out.find("· allowed"), out.npos) << out;
}

TEST_F(Drive, SaysOnceThatNobodyTakesTheCalls) {
  brain.until_told = true;
  brain.script.streams = {{kMine, kRunning, kCall, kWaits, kEnd}};
  EXPECT_EQ(run("do it"), 0) << err;
  EXPECT_NE(err.find("nobody takes the tool calls of environment env_1"), err.npos) << err;
  EXPECT_EQ(err.find("nobody"), err.rfind("nobody")) << err;
}

TEST_F(Drive, JsonIsOneEventPerLine) {
  brain.script.streams = {{kMine, kRunning, kWaits, kGoesOn, kEnd}};
  EXPECT_EQ(run("do it", true), 0) << err;
  std::vector<std::string> types;
  for (const std::string& line : split(out, '\n'))
    if (!line.empty()) types.push_back(std::string(json::parse(line).at("type").as_string()));
  EXPECT_EQ(types, (std::vector<std::string>{"user.message", "session.status_running",
                                             "session.status_idle", "session.status_running",
                                             "session.status_idle"}));
}

TEST_F(Drive, CtrlCInterruptsTheTurnAndFollowsItToItsEnd) {
  brain.script.streams = {{kMine, kRunning, kEnd}};
  brain.signal = SIGINT;
  EXPECT_EQ(run("do it"), 130) << err;
  EXPECT_NE(out.find("done (end_turn)"), out.npos) << out;
  ASSERT_EQ(brain.script.posted.size(), 2u);
  EXPECT_EQ(brain.script.posted[1], R"({"events":[{"type":"user.interrupt"}]})");
}

TEST_F(Drive, AnInterruptThatIsLostIsSentAgain) {
  brain.script.streams = {{kMine, kRunning, kEnd}};
  brain.signal = SIGINT;
  brain.lose_interrupts = 2;
  EXPECT_EQ(run("do it"), 130) << err;
  EXPECT_EQ(brain.script.posted.size(), 2u);
}

TEST_F(Drive, ASecondCtrlCLeavesTheSessionAlone) {
  brain.script.streams = {{kMine, kRunning, kEnd}};
  brain.signal = SIGINT;
  brain.again = true;
  EXPECT_EQ(run("do it"), 130) << err;
  EXPECT_EQ(out.find("done (end_turn)"), out.npos) << out;
}

TEST_F(Drive, OtherSignalsLeaveAtOnce) {
  brain.script.streams = {{kMine, kRunning, kEnd}};
  brain.signal = SIGTERM;
  EXPECT_EQ(run("do it"), 143) << err;
  EXPECT_EQ(brain.script.posted.size(), 1u);
}

TEST(SessionEvents, AreWhatTheApiTakes) {
  EXPECT_EQ(
      confirmation_events("sevt_1", false, "no"),
      R"({"events":[{"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"deny","deny_message":"no"}]})");
  EXPECT_EQ(
      confirmation_events("sevt_1", true, "ignored"),
      R"({"events":[{"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"allow"}]})");
}

TEST(BrainError, HasTheMessageAndTheCodeOfTheApi) {
  Error error = brain_error(
      400,
      R"({"type":"error","error":{"type":"invalid_request_error","message":"no\u001b such","details":{"error_code":"environment_archived"}},"request_id":"req_1"})");
  EXPECT_EQ(error.code, Code::invalid);
  EXPECT_EQ(error.what, "no\\x1b such");
  EXPECT_EQ(error.tag, "environment_archived");
  EXPECT_EQ(brain_error(404, "gone fishing").what, "gone fishing");
  EXPECT_EQ(brain_error(529, "").what, "the brain answered with status 529");
}

}  // namespace
}  // namespace glovebox::cli
