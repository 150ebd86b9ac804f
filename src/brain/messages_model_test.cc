#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <deque>

#include "brain/model.h"
#include "http/server.h"
#include "net/task.h"
#include "net/test_cert.h"

namespace glovebox::brain {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr std::string_view kKey = "sk-ant-canary-0123456789";

std::string sse(const std::string& json) {
  std::string type = std::string(boost::json::parse(json).at("type").as_string());
  return str("event: ", type, "\ndata: ", json, "\n\n");
}

const std::string kStart = sse(
    R"({"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}})");
const std::string kStop = sse(R"({"type":"message_stop"})");
std::string block(int index, const std::string& content) {
  return sse(str(R"({"type":"content_block_start","index":)", index, R"(,"content_block":)",
                 content, "}"));
}
std::string delta(int index, const std::string& delta) {
  return sse(str(R"({"type":"content_block_delta","index":)", index, R"(,"delta":)", delta, "}"));
}
std::string block_end(int index) {
  return sse(str(R"({"type":"content_block_stop","index":)", index, "}"));
}
std::string ending(const std::string& reason, const std::string& more = "") {
  return sse(str(R"({"type":"message_delta","delta":{"stop_reason":")", reason, "\"", more,
                 R"(},"usage":{"output_tokens":9}})")) +
         kStop;
}
std::string text(int index, const std::string& text) {
  return block(index, R"({"type":"text","text":""})") +
         delta(index, str(R"({"type":"text_delta","text":")", text, "\"}")) + block_end(index);
}
std::string answer(const std::string& words) {
  return kStart + text(0, words) + ending("end_turn");
}

struct Reply {
  int status = 200;
  std::vector<std::string> pieces;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string type = "text/event-stream";
  enum class After { end, cut, hang } after = After::end;
  Millis between{0};
};
Reply stream(std::string whole) { return {.pieces = {std::move(whole)}}; }
Reply error(int status, const std::string& type, const std::string& message = "no",
            std::vector<std::pair<std::string, std::string>> headers = {}) {
  return {.status = status,
          .pieces = {str(R"({"type":"error","error":{"type":")", type, R"(","message":")", message,
                         "\"}}")},
          .headers = std::move(headers),
          .type = "application/json"};
}

Task<void> write(Reply reply, http::BodyWriter& out) {
  for (std::string& piece : reply.pieces) {
    if (piece.empty()) continue;
    CO_TRY_DO(co_await out.write(std::move(piece)));
    if (reply.between > 0ms) CO_TRY_DO(co_await net::sleep(reply.between));
  }
  if (reply.after == Reply::After::cut) co_return Error{Code::unavailable, "cut"};
  if (reply.after == Reply::After::hang) CO_TRY_DO(co_await net::sleep(std::chrono::hours(1)));
  co_return ok;
}

// A Messages API that answers what it is told, and the model in front of it.
struct Api {
  net::Loop loop;
  http::Server server;
  std::string url;
  std::deque<Reply> replies;
  std::vector<http::Request> requests;
  std::vector<std::string> heard;  // what the listener was told
  std::vector<Millis> waits;

  explicit Api(http::ServerOptions options = {})
      : server(loop,
               {{"POST", "/v1/messages", http::Body::whole,
                 [this](http::Request request) { return take(std::move(request)); }}},
               options) {
    auto bound = server.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    url = str(options.tls ? "https" : "http", "://127.0.0.1:", bound->port);
  }

  Task<http::Response> take(http::Request request) {
    requests.push_back(std::move(request));
    Reply reply = replies.empty() ? error(418, "no_reply_left") : std::move(replies.front());
    if (!replies.empty()) replies.pop_front();
    http::Response response;
    response.status = reply.status;
    response.headers.set("Content-Type", reply.type);
    for (auto& [name, value] : reply.headers) response.headers.set(name, value);
    response.stream = [reply](http::BodyWriter& out) { return write(reply, out); };
    co_return response;
  }

  ModelOptions options() const {
    return {.url = url,
            .key = Secret(std::string(kKey)),
            .attempts = 3,
            .first_backoff = 2ms,
            .longest_backoff = 4ms,
            .stall_limit = 150ms};
  }
  ModelListener listener() {
    ModelListener listener;
    listener.thinking = [this] { heard.push_back("thinking"); };
    listener.text = [this](std::size_t block, std::string_view text) {
      heard.push_back(str(block, ":", text));
    };
    listener.retrying = [this](const Error&, std::string_view type, Millis wait) {
      heard.push_back(str("retrying ", type));
      waits.push_back(wait);
    };
    listener.resumed = [this] { heard.push_back("resumed"); };
    return listener;
  }

  Task<void> ask_into(Model& model, std::string request, Result<ModelReply>& out) {
    out = co_await model.ask(std::move(request), listener());
    co_return ok;
  }
  Task<void> then_drain(Task<void> task) {
    auto done = co_await std::move(task);
    CO_TRY_DO(co_await server.drain(5s));
    co_return done;
  }
  Result<ModelReply> ask(std::string request = R"({"model":"m","messages":[]})",
                         std::optional<ModelOptions> other = {}) {
    auto model = make_messages_model(loop, other.value_or(options()));
    EXPECT_TRUE(model);
    Result<ModelReply> reply = Error{};
    EXPECT_TRUE(net::run(loop, then_drain(ask_into(**model, std::move(request), reply))));
    return reply;
  }
  ModelReply good() {
    auto reply = ask();
    EXPECT_TRUE(reply) << reply.error().what;
    return reply ? *reply : ModelReply();
  }
};

// --- What is right

TEST(MessagesModel, SendsWhatTheApiWantsAndPutsTheTextTogether) {
  Api api;
  api.replies = {
      stream(kStart + block(0, R"({"type":"text","text":""})") +
             delta(0, R"({"type":"text_delta","text":"Hel"})") + sse(R"({"type":"ping"})") +
             delta(0, R"({"type":"text_delta","text":"lo"})") + block_end(0) + ending("end_turn"))};
  ModelReply reply = api.good();
  EXPECT_EQ(reply.content, R"([{"type":"text","text":"Hello"}])");
  EXPECT_EQ(reply.stop_reason, "end_turn");
  EXPECT_EQ(reply.stop_details, "null");
  EXPECT_EQ(reply.usage, R"({"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":9})");
  EXPECT_THAT(api.heard, ElementsAre("0:Hel", "0:lo"));
  ASSERT_THAT(api.requests, SizeIs(1));
  EXPECT_EQ(api.requests[0].headers.get("x-api-key"), kKey);
  EXPECT_EQ(api.requests[0].headers.get("anthropic-version"), "2023-06-01");
  EXPECT_FALSE(api.requests[0].headers.get("anthropic-beta"));
  EXPECT_EQ(api.requests[0].body, R"({"stream":true,"model":"m","messages":[]})");
}

TEST(MessagesModel, BytesMayComeInAnyPieces) {
  Api api;
  std::string whole = kStart +
                      text(0,
                           "Gr\\u00fc\xc3\x9f"
                           "e") +
                      ending("end_turn");
  Reply reply;
  for (char c : whole) reply.pieces.emplace_back(1, c);
  api.replies = {reply};
  EXPECT_EQ(api.good().content,
            "[{\"type\":\"text\",\"text\":\"Grü\xc3\x9f"
            "e\"}]");
}

TEST(MessagesModel, ToolInputsAreJoined) {
  Api api;
  api.replies = {stream(kStart + text(0, "I look.") +
                        block(1, R"({"type":"tool_use","id":"toolu_1","name":"bash","input":{}})") +
                        delta(1, R"({"type":"input_json_delta","partial_json":""})") +
                        delta(1, R"({"type":"input_json_delta","partial_json":"{\"comma"})") +
                        delta(1, R"({"type":"input_json_delta","partial_json":"nd\":\"ls\"}"})") +
                        block_end(1) +
                        block(2, R"({"type":"tool_use","id":"toolu_2","name":"ls","input":{}})") +
                        block_end(2) + ending("tool_use"))};
  ModelReply reply = api.good();
  EXPECT_EQ(reply.stop_reason, "tool_use");
  EXPECT_THAT(
      reply.content,
      AllOf(
          HasSubstr(R"({"type":"tool_use","id":"toolu_1","name":"bash","input":{"command":"ls"}})"),
          HasSubstr(R"({"type":"tool_use","id":"toolu_2","name":"ls","input":{}})")));
}

TEST(MessagesModel, ThinkingKeepsItsSignature) {
  Api api;
  api.replies = {stream(kStart + block(0, R"({"type":"thinking","thinking":"","signature":""})") +
                        delta(0, R"({"type":"thinking_delta","thinking":"Hm"})") +
                        delta(0, R"({"type":"thinking_delta","thinking":"m."})") +
                        delta(0, R"({"type":"signature_delta","signature":"c2ln"})") +
                        block_end(0) + block(1, R"({"type":"redacted_thinking","data":"eHl6"})") +
                        block_end(1) + text(2, "Yes.") + ending("end_turn"))};
  EXPECT_EQ(api.good().content,
            R"([{"type":"thinking","thinking":"Hmm.","signature":"c2ln"},)"
            R"({"type":"redacted_thinking","data":"eHl6"},{"type":"text","text":"Yes."}])");
  EXPECT_THAT(api.heard, ElementsAre("thinking", "thinking", "2:Yes."));
}

TEST(MessagesModel, WhatItDoesNotKnowIsKeptOrPassedOver) {
  Api api;
  api.replies = {stream(kStart + sse(R"({"type":"new_event","x":1})") + ": a comment\n\n" +
                        block(0, R"({"type":"new_block","y":[1,{"z":2}]})") +
                        delta(0, R"({"type":"new_delta","y":3})") + block_end(0) + text(1, "Hi") +
                        delta(1, R"({"type":"citations_delta","citation":{}})") +
                        ending("new_reason"))};
  ModelReply reply = api.good();
  EXPECT_EQ(reply.content, R"([{"type":"new_block","y":[1,{"z":2}]},{"type":"text","text":"Hi"}])");
  EXPECT_EQ(reply.stop_reason, "new_reason");
}

TEST(MessagesModel, StopReasonsAndTheirDetailsComeThrough) {
  for (std::string reason : {"max_tokens", "pause_turn", "model_context_window_exceeded"}) {
    Api api;
    api.replies = {stream(kStart + text(0, "x") + ending(reason))};
    EXPECT_EQ(api.good().stop_reason, reason);
  }
  Api api;
  api.replies = {
      stream(kStart + ending("refusal", R"(,"stop_details":{"type":"refusal","category":"bio"})"))};
  ModelReply refused = api.good();
  EXPECT_EQ(refused.content, "[]");
  EXPECT_EQ(refused.stop_details, R"({"type":"refusal","category":"bio"})");
}

TEST(MessagesModel, AnAnswerWithoutStreamingIsTakenToo) {
  Api api;
  api.replies = {{.pieces = {R"({"type":"message","content":[{"type":"text","text":"Hi"}],)"
                             R"("stop_reason":"end_turn","usage":{"input_tokens":1}})"},
                  .type = "application/json; charset=utf-8"}};
  EXPECT_EQ(api.good().content, R"([{"type":"text","text":"Hi"}])");
  EXPECT_THAT(api.heard, ElementsAre("0:Hi"));
}

TEST(MessagesModel, FastSpeedSendsItsBetaHeader) {
  Api api;
  api.replies = {stream(answer("x"))};
  ASSERT_TRUE(api.ask(R"({"speed":"fast","model":"m"})"));
  EXPECT_EQ(api.requests[0].headers.get("anthropic-beta"), "fast-mode-2026-02-01");
  Api other;
  other.replies = {stream(answer("x"))};
  ASSERT_TRUE(other.ask(R"({"model":"m","tools":[{"input_schema":{"speed":"fast"}}]})"));
  EXPECT_FALSE(other.requests[0].headers.get("anthropic-beta"));
}

TEST(MessagesModel, ARequestIsSentAsItStandsHoweverDeepItIs) {
  Api api;
  api.replies = {stream(answer("x"))};
  const std::string rest =
      str(R"("model":"m", "messages":[0.5,)", std::string(60, '['), std::string(60, ']'), "]}");
  ASSERT_TRUE(api.ask('{' + rest));
  EXPECT_EQ(api.requests[0].body, str(R"({"stream":true,)", rest));
}

TEST(MessagesModel, AServerThatDoesNotEndItsBodyIsNotWaitedFor) {
  Api api;
  Reply reply = stream(answer("x"));
  reply.after = Reply::After::hang;
  api.replies = {reply};
  EXPECT_EQ(api.good().stop_reason, "end_turn");
  EXPECT_THAT(api.requests, SizeIs(1));
}

// --- What is wrong with a request stays wrong

struct Refusal {
  int status;
  std::string type;
  std::string tag;
  Code code;
};
class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, IsNotTriedAgain) {
  Api api;
  api.replies = {error(GetParam().status, GetParam().type, "because")};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, GetParam().code);
  EXPECT_EQ(reply.error().tag, GetParam().tag);
  EXPECT_THAT(reply.error().what, HasSubstr("because"));
  EXPECT_THAT(api.requests, SizeIs(1));
  EXPECT_THAT(api.heard, IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(
    MessagesModel, Refused,
    testing::Values(
        Refusal{400, "invalid_request_error", "model_request_failed_error", Code::invalid},
        Refusal{401, "authentication_error", "model_request_failed_error", Code::unauthenticated},
        Refusal{402, "billing_error", "billing_error", Code::forbidden},
        Refusal{403, "permission_error", "model_request_failed_error", Code::forbidden},
        Refusal{404, "not_found_error", "model_request_failed_error", Code::not_found},
        Refusal{413, "request_too_large", "model_request_failed_error", Code::too_large},
        Refusal{422, "what_error", "model_request_failed_error", Code::invalid}));

TEST(MessagesModel, APromptThatIsTooLongIsToldApart) {
  Api api;
  api.replies = {
      error(400, "invalid_request_error", "prompt is too long: 214000 tokens > 200000 maximum")};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::too_large);
}

TEST(MessagesModel, ARedirectIsNotFollowedWithTheKey) {
  Api api;
  api.replies = {error(307, "x", "elsewhere", {{"location", "http://127.0.0.1:1/"}})};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::invalid);
  EXPECT_THAT(api.requests, SizeIs(1));
}

TEST(MessagesModel, TheKeyIsNotInWhatAServerSaysOfIt) {
  Api api;
  api.replies = {error(401, "authentication_error", str("invalid key ", kKey, "!"))};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().what, AllOf(HasSubstr("invalid key [key]!"), Not(HasSubstr("canary"))));
}

// --- What may pass

struct Passing {
  std::string name;
  Reply reply;
  std::string tag = "model_request_failed_error";
};
class Retried : public testing::TestWithParam<Passing> {};

TEST_P(Retried, IsTriedAgainAndThenGood) {
  Api api;
  api.replies = {GetParam().reply, stream(answer("good"))};
  ModelReply reply = api.good();
  EXPECT_THAT(reply.content, HasSubstr("good"));
  EXPECT_THAT(api.requests, SizeIs(2));
  std::vector<std::string> told;
  for (const std::string& one : api.heard)
    if (!one.starts_with("0:")) told.push_back(one);
  EXPECT_THAT(told, ElementsAre("retrying " + GetParam().tag, "resumed"));
}

TEST_P(Retried, EndsWithTheAttempts) {
  Api api;
  api.replies = {GetParam().reply, GetParam().reply, GetParam().reply, stream(answer("too late"))};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().tag, GetParam().tag);
  EXPECT_THAT(api.requests, SizeIs(3));
}

Reply after(std::string bytes, Reply::After what) {
  return {.pieces = {std::move(bytes)}, .after = what};
}
const std::string kHalf = kStart + block(0, R"({"type":"text","text":""})") +
                          delta(0, R"({"type":"text_delta","text":"Half a"})");
std::string stream_error(const std::string& type) {
  return sse(str(R"({"type":"error","error":{"type":")", type, R"(","message":"m"}})"));
}
Reply dribble() {  // never still for long, and never an event
  Reply reply{.between = 20ms};
  for (int i = 0; i < 50; ++i) reply.pieces.emplace_back("data: x"[i % 7] + std::string());
  return reply;
}

INSTANTIATE_TEST_SUITE_P(
    MessagesModel, Retried,
    testing::Values(
        Passing{"timeout_408", error(408, "timeout_error")},
        Passing{"conflict_409", error(409, "conflict_error")},
        Passing{"rate_429", error(429, "rate_limit_error"), "model_rate_limited_error"},
        Passing{"error_500", error(500, "api_error")},
        Passing{"gateway_502", {.status = 502, .pieces = {"<html>"}, .type = "text/html"}},
        Passing{"error_503_empty", {.status = 503}},
        Passing{"gateway_504", error(504, "timeout_error")},
        Passing{"overloaded_529", error(529, "overloaded_error"), "model_overloaded_error"},
        Passing{"cut_at_once", after("", Reply::After::cut)},
        Passing{"cut_in_the_middle", after(kHalf, Reply::After::cut)},
        Passing{"cut_before_the_stop",
                after(kHalf + sse(R"({"type":"message_delta","delta":{"stop_reason":"end_turn"}})"),
                      Reply::After::cut)},
        Passing{"ends_in_the_middle", after(kHalf, Reply::After::end)},
        Passing{"ends_inside_an_event",
                after(kHalf + "event: message_stop\ndata: {\"type", Reply::After::end)},
        Passing{"stalls", after(kHalf, Reply::After::hang)},
        Passing{"stalls_before_a_word", after("", Reply::After::hang)},
        Passing{"dribbles", dribble()},
        Passing{"error_event_overloaded", stream(kHalf + stream_error("overloaded_error")),
                "model_overloaded_error"},
        Passing{"error_event_rate", stream(kHalf + stream_error("rate_limit_error")),
                "model_rate_limited_error"},
        Passing{"error_event_api", stream(kHalf + stream_error("api_error"))},
        Passing{"error_event_unknown", stream(kHalf + stream_error("brand_new_error"))},
        Passing{"event_not_json", stream(kStart + "data: {nope\n\n")},
        Passing{"event_not_an_object", stream(kStart + "data: 17\n\n")},
        Passing{"delta_of_no_block",
                stream(kStart + delta(5, R"({"type":"text_delta","text":"x"})"))},
        Passing{"block_twice",
                stream(kStart + block(0, R"({"type":"text"})") + block(0, R"({"type":"text"})"))},
        Passing{"block_far_out", stream(kStart + block(99'999, R"({"type":"text"})"))},
        Passing{"block_without_type", stream(kStart + block(0, "{}"))},
        Passing{"starts_twice", stream(kStart + kStart)},
        Passing{"does_not_start", stream(text(0, "x") + ending("end_turn"))},
        Passing{"no_stop_reason", stream(kStart + text(0, "x") + kStop)},
        Passing{"nothing_at_all", stream(kStart + kStop)},
        Passing{"a_page", {.pieces = {"<html>Sign in</html>"}, .type = "text/html"}},
        Passing{"json_without_content", {.pieces = {"{}"}, .type = "application/json"}},
        Passing{"not_json", {.pieces = {"x"}, .type = "application/json"}}),
    [](const auto& info) { return info.param.name; });

TEST(MessagesModel, AnErrorInTheStreamThatWillNotPassEndsIt) {
  Api api;
  api.replies = {stream(kHalf + stream_error("invalid_request_error"))};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::invalid);
  EXPECT_THAT(api.requests, SizeIs(1));
}

TEST(MessagesModel, TheServersWordOnRetryingIsFinal) {
  Api once;
  once.replies = {error(500, "api_error", "no", {{"x-should-retry", "false"}})};
  EXPECT_FALSE(once.ask());
  EXPECT_THAT(once.requests, SizeIs(1));
  Api again;
  again.replies = {error(400, "invalid_request_error", "no", {{"x-should-retry", "true"}}),
                   stream(answer("good"))};
  EXPECT_TRUE(again.ask());
}

TEST(MessagesModel, RetryAfterIsHeededUpToALimit) {
  auto waited = [](std::pair<std::string, std::string> header) {
    Api api;
    api.replies = {error(429, "rate_limit_error", "slow", {header}), stream(answer("good"))};
    EXPECT_TRUE(api.ask());
    return api.waits.at(0);
  };
  EXPECT_EQ(waited({"retry-after-ms", "17"}), 17ms);
  EXPECT_EQ(waited({"retry-after", "86400"}), 40ms);  // ten times the longest wait of our own
  EXPECT_EQ(waited({"retry-after", "Fri, 31 Dec 2099 23:59:59 GMT"}), 40ms);
  EXPECT_LE(waited({"retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"}), 4ms);
  EXPECT_LE(waited({"retry-after", "soon"}), 4ms);
}

TEST(MessagesModel, NobodyThereIsTriedAgainToo) {
  Api api;
  ModelOptions options = api.options();
  options.url = "http://127.0.0.1:1";
  auto reply = api.ask("{}", options);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::unavailable);
  EXPECT_EQ(reply.error().tag, "model_request_failed_error");
  EXPECT_THAT(api.waits, SizeIs(2));
}

// --- Bytes that are not even HTTP

Task<void> serve_raw(net::Listener& listener, std::vector<std::string> answers) {
  for (std::string& bytes : answers) {
    CO_TRY(stream, co_await listener.accept());
    std::string request;
    while (!request.ends_with("}")) {
      char buffer[4096];
      CO_TRY(got, co_await stream->read_some(buffer, 5s));
      if (got == 0) break;
      request.append(buffer, got);
    }
    CO_TRY_DO(co_await stream->write_all(bytes, 5s));
    stream->close();
  }
  co_return ok;
}

TEST(MessagesModel, BrokenHttpIsTriedAgain) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string good = answer("good");
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", good.size());
  const std::string ok_answer = head + size + good + "\r\n0\r\n\r\n";
  for (std::string broken : {head + "zz\r\nnot a size\r\n", head + "fffffffffffffffffff\r\n",
                             std::string("SSH-2.0-nothing here\r\n"), std::string("HTTP/1.1 2"),
                             head + "5\r\nab", std::string()}) {
    Api api;
    auto listener = net::Listener::open(api.loop, net::Address{.host = "127.0.0.1"});
    ASSERT_TRUE(listener);
    net::TaskGroup server(api.loop);
    server.spawn("raw", serve_raw(*listener, {broken, ok_answer}));
    ModelOptions options = api.options();
    options.url = str("http://127.0.0.1:", listener->address().port);
    auto reply = api.ask("{}", options);
    ASSERT_TRUE(reply) << broken << ": " << reply.error().what;
    EXPECT_THAT(api.waits, SizeIs(1));
  }
}

// --- Tool inputs that are no JSON

TEST(MessagesModel, AnInputThatIsNoObjectIsHandedOnAsWhatItIs) {
  for (std::string input : {R"({\"command\":\"l)", "[1]", "nonsense", R"(\"text\")"}) {
    Api api;
    api.replies = {
        stream(kStart + block(0, R"({"type":"tool_use","id":"t","name":"bash","input":{}})") +
               delta(0, str(R"({"type":"input_json_delta","partial_json":")", input, "\"}")) +
               ending("max_tokens"))};
    EXPECT_THAT(api.good().content, HasSubstr(str(R"("input":{"INVALID_JSON":")", input, "\"}")));
    EXPECT_THAT(api.requests, SizeIs(1));
  }
}

// --- Ending it from here

TEST(MessagesModel, CancellingCutsTheRequestAtOnce) {
  Api api;
  api.replies = {after(kHalf, Reply::After::hang)};
  ModelOptions options = api.options();
  options.stall_limit = std::chrono::hours(1);
  auto model = std::move(*make_messages_model(api.loop, options));
  Result<ModelReply> reply = ModelReply();
  struct Helper {
    static Task<void> wait_for_text(Api& api) {
      for (int i = 0; i < 5'000 && api.heard.empty(); ++i) CO_TRY_DO(co_await net::sleep(1ms));
      co_return ok;
    }
  };
  EXPECT_TRUE(net::run(
      api.loop, net::first_of(api.ask_into(*model, "{}", reply), Helper::wait_for_text(api))));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::cancelled);
  EXPECT_THAT(api.heard, ElementsAre("0:Half a"));
  EXPECT_TRUE(net::run(api.loop, api.server.drain(5s)));  // its stream ended with the connection
}

TEST(MessagesModel, ConnectionsAreUsedAgain) {
  Api api;
  api.replies = {stream(answer("one")), stream(answer("two"))};
  auto model = std::move(*make_messages_model(api.loop, api.options()));
  Result<ModelReply> first = Error{}, second = Error{};
  struct Helper {
    static Task<void> twice(Api& api, Model& model, Result<ModelReply>& first,
                            Result<ModelReply>& second) {
      CO_TRY_DO(co_await api.ask_into(model, "{}", first));
      CO_TRY_DO(co_await api.ask_into(model, "{}", second));
      co_return ok;
    }
  };
  ASSERT_TRUE(net::run(api.loop, Helper::twice(api, *model, first, second)));
  ASSERT_TRUE(second);
  EXPECT_EQ(api.requests[0].peer, api.requests[1].peer);
  EXPECT_TRUE(net::run(api.loop, api.server.drain(5s)));
}

TEST(MessagesModel, AServerThatNobodyVouchesForGetsNoKey) {
  net::TestCert cert;
  auto tls = net::TlsServer::load(cert.cert(), cert.key());
  ASSERT_TRUE(tls);
  http::ServerOptions options;
  options.tls = *tls;
  Api api(options);
  api.replies = {stream(answer("x"))};
  auto reply = api.ask();
  ASSERT_FALSE(reply);
  EXPECT_THAT(api.requests, IsEmpty());
}

TEST(ModelSwitch, OurOwnKeysAreNotForModels) {
  net::Loop loop;
  auto model = ModelSwitch::make(loop, {.key = Secret("gb-api-canary")});
  ASSERT_TRUE(model);
  EXPECT_EQ((*model)->kind(), "rehearsal");
  ASSERT_TRUE((*model)->set({.url = "http://127.0.0.1:1", .key = Secret("sk-other")}));
  EXPECT_EQ((*model)->kind(), "messages");
  EXPECT_THAT((*model)->describe(), Not(HasSubstr("sk-")));
  EXPECT_FALSE((*model)->set({.url = "nonsense", .key = Secret("sk-other")}));
  EXPECT_EQ((*model)->kind(), "messages");  // a bad change changes nothing
}

}  // namespace
}  // namespace glovebox::brain
