// The client of a Messages API: one POST, a stream of events, and patience.

#include <time.h>

#include <boost/json.hpp>
#include <chrono>

#include "brain/attempts.h"
#include "brain/json_read.h"
#include "brain/messages_stream.h"
#include "brain/model.h"
#include "http/client.h"
#include "http/sse.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::size_t kErrorBody = 64 * 1024;
constexpr std::size_t kEventLimit = 16 << 20;
constexpr Millis kLastChunk{200};
constexpr int kSilenceLimit = 5;  // stall limits without anything but pings

// Nothing that a server says may carry our key any further.
std::string without(std::string text, const Secret& key) {
  std::string_view secret = key.reveal();
  if (secret.empty()) return text;
  for (auto at = text.find(secret); at != text.npos; at = text.find(secret, at))
    text.replace(at, secret.size(), "[key]");
  return text;
}

class MessagesModel final : public Model {
 public:
  MessagesModel(net::Loop& loop, ModelOptions options, http::Url url)
      : options_(std::move(options)), client_(loop, std::move(url), headers(), limits()) {}

  std::string kind() const override { return "messages"; }
  std::string describe() const override { return str("Messages API at ", options_.url); }
  std::int64_t context_tokens() const override { return options_.context_tokens; }
  Task<ModelReply> ask(std::string request, ModelListener listener) override;

 private:
  http::Headers headers() const;
  http::ClientOptions limits() const;
  Task<ModelReply> attempt(std::string body, http::Headers extra, ModelListener listener,
                           std::shared_ptr<RetryAdvice> advice);
  Task<void> read_stream(http::StreamResponse& response, MessagesStream& stream);
  Task<std::string> read_all(http::BodyReader& body, std::size_t limit);
  Task<ModelReply> refusal(http::StreamResponse& response);
  Error cleaned(Error error) const;

  ModelOptions options_;
  http::Client client_;
};

http::Headers MessagesModel::headers() const {
  http::Headers headers;
  headers.set("x-api-key", std::string(options_.key.reveal()));
  headers.set("anthropic-version", "2023-06-01");
  headers.set("content-type", "application/json");
  headers.set("accept", "text/event-stream, application/json");
  return headers;
}

http::ClientOptions MessagesModel::limits() const {
  http::ClientOptions limits;
  limits.head_deadline = options_.stall_limit;
  limits.body_deadline = options_.stall_limit;
  return limits;
}

// What fails below HTTP (no connection, cut, too slow) may pass; what it says is for people.
Error MessagesModel::cleaned(Error error) const {
  error.what = without(std::move(error.what), options_.key);
  if (error.tag.ends_with("_error") || error.code == Code::cancelled) return error;
  if (error.code != Code::timeout) error.code = Code::unavailable;
  error.tag = "model_request_failed_error";
  error.what = str("the model's API: ", error.what);
  return error;
}

std::optional<Millis> until_date(std::string_view text) {  // "Sun, 06 Nov 1994 08:49:37 GMT"
  struct tm date{};
  std::string copy(text);
  if (!::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date)) return std::nullopt;
  return Millis(static_cast<std::int64_t>(::timegm(&date)) * 1000 - system_clock().unix_ms());
}

RetryAdvice advice_of(const http::Headers& headers) {
  RetryAdvice advice;
  if (auto should = headers.get("x-should-retry")) {
    if (*should == "true") advice.retry = true;
    if (*should == "false") advice.retry = false;
  }
  if (auto ms = headers.get("retry-after-ms")) {
    if (auto number = parse_int<std::int64_t>(trim(*ms))) advice.after = Millis(*number);
  } else if (auto after = headers.get("retry-after")) {
    // Whole seconds, or a date; fractions are not in the standard, but are about.
    std::string_view text = trim(*after);
    if (auto number = parse_int<std::int64_t>(text.substr(0, text.find('.'))))
      advice.after = Millis(std::min<std::int64_t>(*number, 86'400) * 1000);
    else
      advice.after = until_date(text);
  }
  return advice;
}

Task<void> read_rest(http::BodyReader& body) {
  CO_TRY_DO(co_await body.read());
  co_return ok;
}

Task<ModelReply> MessagesModel::ask(std::string request, ModelListener listener) {
  http::Headers extra;
  if (request.starts_with(kFastRequest)) extra.set("anthropic-beta", "fast-mode-2026-02-01");
  // It is long: not taken apart only to be written once more.
  request.insert(1, R"("stream":true,)");
  Attempts attempts(options_);
  for (;;) {
    auto advice = std::make_shared<RetryAdvice>();
    auto reply = co_await attempt(request, extra, listener, advice);
    if (reply || reply.error().code == Code::cancelled) co_return reply;
    Error failed = cleaned(std::move(reply.error()));
    auto wait = attempts.next(failed, *advice);
    if (!wait) co_return failed;
    CO_TRY_DO(co_await wait_for_next_attempt(listener, failed, *wait));
  }
}

Task<ModelReply> MessagesModel::attempt(std::string body, http::Headers extra,
                                        ModelListener listener,
                                        std::shared_ptr<RetryAdvice> advice) {
  CO_TRY(response,
         co_await client_.open("POST", "/v1/messages", std::move(body), std::move(extra)));
  *advice = advice_of(response.headers);
  if (response.status != 200) co_return co_await refusal(response);
  // An advice that came with a good answer is about that one, not about how its stream may end.
  *advice = {};
  MessagesStream stream(std::move(listener));
  std::string type = lower(response.headers.get("content-type").value_or(""));
  if (type.starts_with("application/json")) {
    CO_TRY(message, co_await read_all(*response.body, kEventLimit));
    CO_TRY_DO(stream.feed_message(message));
  } else if (type.starts_with("text/event-stream")) {
    CO_TRY_DO(co_await read_stream(response, stream));
  } else {
    co_return Error{Code::unavailable, str("it answered with ", type.empty() ? "no type" : type),
                    ""};
  }
  co_return stream.reply();
}

Task<void> MessagesModel::read_stream(http::StreamResponse& response, MessagesStream& stream) {
  using Clock = std::chrono::steady_clock;
  http::SseParser events(kEventLimit);
  auto last_event = Clock::now(), last_word = last_event;
  while (!stream.done()) {
    CO_TRY(piece, co_await response.body->read());
    if (piece.empty()) co_return Error{Code::unavailable, "the answer was cut off"};
    CO_TRY_DO(events.feed(piece));
    while (auto event = events.next()) {
      last_event = Clock::now();
      if (event->event != "ping") last_word = last_event;
      CO_TRY_DO(stream.feed(event->event, event->data));
    }
    // A byte now and then is no answer, and neither is a sign of life alone.
    if (Clock::now() - last_event > options_.stall_limit ||
        Clock::now() - last_word > kSilenceLimit * options_.stall_limit)
      co_return Error{Code::timeout, "the answer has stalled"};
  }
  // What is left is the end of the last chunk: read, it lets the connection be used again. A server
  // that does not send it is not waited for.
  (void)co_await net::first_of(read_rest(*response.body), net::sleep(kLastChunk));
  co_return ok;
}

Task<std::string> MessagesModel::read_all(http::BodyReader& body, std::size_t limit) {
  std::string all;
  for (;;) {
    CO_TRY(piece, co_await body.read());
    if (piece.empty()) co_return all;
    if (all.size() + piece.size() > limit)
      co_return Error{Code::unavailable, "the answer is too long"};
    all += piece;
  }
}

Task<ModelReply> MessagesModel::refusal(http::StreamResponse& response) {
  auto body = co_await read_all(*response.body, kErrorBody);
  if (!body && body.error().code == Code::cancelled) co_return std::move(body.error());
  json::object envelope = parse_object(body ? *body : "");
  const json::object* error = object_of(envelope, "error");
  std::string said = error ? text_of(*error, "message") : "";
  std::string type = error ? text_of(*error, "type") : "";
  std::string message = str("the model's API answered ", response.status, said.empty() ? "" : ": ",
                            said.substr(0, 2'000));
  co_return model_error(response.status, type, message);
}

}  // namespace

Result<std::unique_ptr<Model>> make_messages_model(net::Loop& loop, ModelOptions options) {
  TRY(url, http::Url::parse(options.url), "the model's API");
  return std::make_unique<MessagesModel>(loop, std::move(options), std::move(url));
}

}  // namespace glovebox::brain
