#include "runner/service.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/clock.h"
#include "runner/json.h"
#include "runner/retry.h"
#include "runner/within.h"

namespace glovebox::runner {

namespace {

constexpr Millis kLongestAsked{60'000};  // of a wait the service asks for: leases are no longer
constexpr std::size_t kMessage = 500;
constexpr std::size_t kErrorBody = 64 * 1024;
constexpr std::string_view kPoller = "environments-work-poller", kWorker = "environments-worker",
                           kToolRunner = "environments-worker, session-tool-runner";

Code code_of(int status) {
  switch (status) {
    case 401: return Code::unauthenticated;
    case 403: return Code::forbidden;
    case 404: return Code::not_found;
    case 409: return Code::conflict;
    case 410: return Code::gone;
    case 413: return Code::too_large;
    case 408: return Code::timeout;
    case 429: return Code::exhausted;
  }
  return status >= 400 && status < 500 ? Code::invalid : Code::unavailable;
}

// One line for people, of an answer that may be anything.
std::string plain(std::string_view text) {
  std::string out = valid_utf8(text.substr(0, kMessage));
  std::ranges::replace_if(out, [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return out;
}

Error error_of(int status, const http::Headers& headers, std::string_view body) {
  std::string message;
  if (auto value = parse_json(body))
    if (const boost::json::value* error = member(*value, "error"))
      message = text(*error, "message");
  if (message.empty()) message = std::string(trim(body));
  std::string what = str("the service answered ", status);
  if (!message.empty()) what += ": " + plain(message);
  if (auto id = headers.get("request-id")) what += str(" (", plain(*id), ")");
  return Error{code_of(status), std::move(what), str(status)};
}

// What went wrong on our side of the connection must not look like a refusal of the service.
Error no_answer(Error error) {
  if (error.code != Code::cancelled && error.code != Code::timeout) {
    error.tag = error.code == Code::too_large ? "ANSWER_TOO_LARGE" : "";
    error.code = Code::unavailable;
  }
  return error;
}

struct Call {
  std::string method, target, body;
  std::string_view helper;
  std::string_view beta = "managed-agents-2026-04-01";
  http::Headers headers;
  Millis limit{};
  int also_taken = 0;  // a status that is an answer here, besides all 2xx
};

}  // namespace

int status_of(const Error& error) { return parse_int<int>(error.tag).value_or(0); }

bool fatal(const Error& error) {
  const int status = status_of(error);
  return status >= 400 && status < 500 && status != 408 && status != 409 && status != 429;
}

struct Service::Impl {
  Impl(net::Loop& loop, Options given)
      : options(std::move(given)), client(loop, options.url, {}, options.client) {}

  http::Headers headers_of(const Call& call, const Bearer& bearer, int attempt) const {
    http::Headers headers;
    headers.set("Accept", "application/json");
    headers.set("User-Agent", "glovebox/" GLOVEBOX_VERSION);
    headers.set("anthropic-version", "2026-10-21");
    for (const auto& [name, value] : options.headers.all()) headers.set(name, value);
    if (!call.beta.empty()) headers.set("anthropic-beta", std::string(call.beta));
    headers.set("x-stainless-helper", std::string(call.helper));
    headers.set("X-Stainless-Retry-Count", str(attempt));
    if (!call.body.empty()) headers.set("Content-Type", "application/json");
    for (const auto& [name, value] : call.headers.all()) headers.set(name, value);
    headers.remove("x-api-key");
    headers.set("Authorization", str("Bearer ", bearer->reveal()));
    return headers;
  }

  Millis wait_before(int attempt, const http::Headers* answer) const {
    if (answer)
      if (auto asked = asked_wait(*answer, system_clock().unix_ms()))
        return std::min(*asked, kLongestAsked);
    return jittered(doubled(options.first_retry, attempt, options.longest_retry));
  }

  Options options;
  http::Client client;
};

namespace {

using Impl = std::shared_ptr<Service::Impl>;

// A 2xx answer, or the error of the last attempt. `attempts` tells how many there were.
Task<http::ClientResponse> request(Impl impl, Call call, Bearer bearer, int* attempts = nullptr) {
  for (int attempt = 0;; ++attempt) {
    if (attempts) *attempts = attempt + 1;
    http::Headers headers = impl->headers_of(call, bearer, attempt);
    auto answer = co_await within(
        impl->client.call(call.method, call.target, call.body, std::move(headers)), call.limit);
    if (!answer && answer.error().code == Code::cancelled) co_return std::move(answer.error());
    if (answer && (answer->status / 100 == 2 || answer->status == call.also_taken))
      co_return answer;
    bool again =
        answer ? worth_retrying(answer->status, answer->headers)
               : answer.error().code == Code::unavailable || answer.error().code == Code::timeout;
    if (!again || attempt >= impl->options.retries) {
      if (!answer) co_return no_answer(std::move(answer.error()));
      co_return error_of(answer->status, answer->headers, answer->body);
    }
    CO_TRY_DO(co_await net::sleep(impl->wait_before(attempt, answer ? &answer->headers : nullptr)));
  }
}

Task<http::StreamResponse> open_once(Impl impl, Call call, http::Headers headers) {
  CO_TRY(answer, co_await impl->client.open(call.method, call.target, "", std::move(headers)));
  co_return answer;
}

// What an error's body says, as far as it is worth reading.
Task<std::string> short_body(std::shared_ptr<http::StreamResponse> answer) {
  std::string body;
  for (;;) {
    CO_TRY(piece, co_await answer->body->read());
    body += piece;
    if (piece.empty() || body.size() > kErrorBody) co_return body;
  }
}

// Its connection must not be read further where it is too large: dropped, it is closed.
Task<std::string> whole_body(std::shared_ptr<http::StreamResponse> answer, std::size_t limit) {
  std::string body;
  for (;;) {
    auto piece = co_await answer->body->read();
    if (!piece) co_return no_answer(std::move(piece.error()));
    if (piece->empty()) co_return body;
    if (body.size() + piece->size() > limit)
      co_return Error{Code::too_large, str("it is larger than ", limit, " bytes")};
    body += *piece;
  }
}

Task<http::StreamResponse> open_stream(Impl impl, Call call, Bearer bearer) {
  for (int attempt = 0;; ++attempt) {
    auto answer =
        co_await within(open_once(impl, call, impl->headers_of(call, bearer, attempt)), call.limit);
    if (!answer && answer.error().code == Code::cancelled) co_return std::move(answer.error());
    if (answer && answer->status / 100 == 2) co_return answer;
    bool again =
        answer ? worth_retrying(answer->status, answer->headers)
               : answer.error().code == Code::unavailable || answer.error().code == Code::timeout;
    if (!again || attempt >= impl->options.retries) {
      if (!answer) co_return no_answer(std::move(answer.error()));
      auto refused = std::make_shared<http::StreamResponse>(std::move(*answer));
      auto body = co_await within(short_body(refused), impl->options.short_limit);
      co_return error_of(refused->status, refused->headers, body ? *body : "");
    }
    http::Headers headers = answer ? answer->headers : http::Headers();
    answer = Error{Code::unavailable, ""};  // closes the connection before the wait
    CO_TRY_DO(co_await net::sleep(impl->wait_before(attempt, &headers)));
  }
}

class SseEvents final : public EventStream {
 public:
  SseEvents(std::unique_ptr<http::BodyReader> body, std::size_t limit)
      : body_(std::move(body)), reader_(*body_, limit) {}

  Task<std::optional<Event>> next() override {
    for (;;) {
      auto frame = co_await reader_.next();
      if (!frame) co_return no_answer(std::move(frame.error()));
      if (!*frame) co_return std::optional<Event>();
      if ((*frame)->event == "ping") continue;
      if ((*frame)->event == "error")  // without a status: the stream ends, the session does not
        co_return Error{Code::unavailable, str("the stream reports ", plain((*frame)->data))};
      auto event = decode_event((*frame)->data);
      if (!event) co_return Error{Code::unavailable, event.error().what};
      co_return std::optional<Event>(std::move(*event));
    }
  }

 private:
  std::unique_ptr<http::BodyReader> body_;
  http::SseReader reader_;
};

std::string work_target(std::string_view environment, std::string_view work,
                        std::string_view verb) {
  return str("/v1/environments/", http::encode_path(environment), "/work/", http::encode_path(work),
             "/", verb);
}

std::string session_target(std::string_view session, std::string_view rest = "") {
  return str("/v1/sessions/", http::encode_path(session), rest);
}

}  // namespace

Service::Service(net::Loop& loop, Options options)
    : impl_(std::make_shared<Impl>(loop, std::move(options))) {}
Service::~Service() = default;

Task<std::optional<Work>> Service::poll(Poll poll, Bearer bearer) {
  Call call{.method = "GET", .helper = kPoller, .limit = impl_->options.short_limit};
  call.target = str("/v1/environments/", http::encode_path(poll.environment), "/work/poll");
  char mark = '?';
  auto add = [&](std::string_view name, std::optional<int> value) {
    if (value) call.target += str(std::exchange(mark, '&'), name, '=', *value);
  };
  add("block_ms", poll.block_ms);
  add("reclaim_older_than_ms", poll.reclaim_older_than_ms);
  if (!poll.worker_id.empty()) call.headers.set("Anthropic-Worker-ID", poll.worker_id);
  CO_TRY(answer, co_await request(impl_, std::move(call), bearer), "poll for work");
  co_return decode_work(answer.body);
}

Task<void> Service::ack(std::string environment, std::string work, Bearer bearer) {
  Call call{.method = "POST",
            .target = work_target(environment, work, "ack"),
            .helper = kPoller,
            .limit = impl_->options.short_limit};
  CO_TRY_DO(co_await request(impl_, std::move(call), bearer), "acknowledge ", work);
  co_return ok;
}

Task<Beat> Service::heartbeat(std::string environment, std::string work, std::string expected,
                              Bearer bearer) {
  Call call{
      .method = "POST", .helper = kWorker, .limit = impl_->options.short_limit, .also_taken = 412};
  call.target = str(work_target(environment, work, "heartbeat"),
                    "?expected_last_heartbeat=", http::encode_query(expected));
  int attempts = 0;
  CO_TRY(answer, co_await request(impl_, std::move(call), bearer, &attempts), "heartbeat of ",
         work);
  Beat beat;
  if (answer.status == 412) {
    beat = decode_refused_beat(answer.body);
  } else {
    CO_TRY(accepted, decode_beat(answer.body), "heartbeat of ", work);
    beat = std::move(accepted);
  }
  beat.repeated = attempts > 1;
  co_return beat;
}

Task<void> Service::stop(std::string environment, std::string work, Stop how, Bearer bearer) {
  Call call{.method = "POST",
            .target = work_target(environment, work, "stop"),
            .body = how == Stop::by_force ? R"({"force":true})" : "{}",
            .helper = kWorker,
            .limit = impl_->options.short_limit};
  auto answer = co_await request(impl_, std::move(call), bearer);
  if (!answer && status_of(answer.error()) != 409)
    co_return std::move(answer.error()).with(str("stop ", work));
  co_return ok;
}

Task<Session> Service::session(std::string session, Bearer bearer) {
  Call call{.method = "GET",
            .target = session_target(session),
            .helper = kWorker,
            .limit = impl_->options.short_limit};
  CO_TRY(answer, co_await request(impl_, std::move(call), bearer), "read session ", session);
  CO_TRY(value, parse_json(answer.body), "session ", session);
  co_return Session{session, text(value, "status"), std::move(answer.body)};
}

Task<std::unique_ptr<EventStream>> Service::stream(std::string session, Bearer bearer) {
  Call call{.method = "GET",
            .target = session_target(session, "/events/stream"),
            .helper = kToolRunner,
            .limit = impl_->options.short_limit};
  CO_TRY(answer, co_await open_stream(impl_, std::move(call), bearer), "events of ", session);
  auto type = answer.headers.get("Content-Type");
  if (type && !lower(*type).starts_with("text/event-stream"))
    co_return Error{Code::unavailable,
                    str("events of ", session, ": the answer is ", plain(*type), ", no stream")};
  std::unique_ptr<EventStream> events =
      std::make_unique<SseEvents>(std::move(answer.body), impl_->options.event_limit);
  co_return events;
}

Task<EventPage> Service::events(std::string session, std::string cursor, int limit, Bearer bearer) {
  Call call{.method = "GET", .helper = kToolRunner, .limit = impl_->options.long_limit};
  call.target = str(session_target(session, "/events?limit="), limit);
  if (!cursor.empty()) call.target += str("&page=", http::encode_query(cursor));
  CO_TRY(answer, co_await request(impl_, std::move(call), bearer), "history of ", session);
  co_return decode_events(answer.body);
}

Task<void> Service::send(std::string session, std::string event_json, Bearer bearer) {
  Call call{.method = "POST",
            .target = session_target(session, "/events"),
            .body = str(R"({"events":[)", event_json, "]}"),
            .helper = kToolRunner,
            .limit = impl_->options.long_limit};
  CO_TRY_DO(co_await request(impl_, std::move(call), bearer), "answer in ", session);
  co_return ok;
}

Task<std::string> Service::call(std::string method, std::string target, std::string body,
                                Family family, Bearer bearer) {
  Call call{.method = std::move(method),
            .target = std::move(target),
            .body = std::move(body),
            .helper = kWorker,
            .limit = impl_->options.short_limit};
  // The hosted service takes one of them at a time.
  if (family == Family::memory) call.beta = "agent-memory-2026-07-22";
  if (family == Family::skills) call.beta = "";
  CO_TRY(answer, co_await request(impl_, std::move(call), bearer));
  co_return std::move(answer.body);
}

Task<std::string> Service::get(std::string target, Bearer bearer) {
  return call("GET", std::move(target), "", Family::agents, std::move(bearer));
}

Task<http::StreamResponse> Service::open_download(std::string target, Bearer bearer) {
  Call call{.method = "GET",
            .target = std::move(target),
            .helper = kWorker,
            .beta = "",
            .limit = impl_->options.long_limit};
  call.headers.set("Accept", "application/binary");
  co_return co_await open_stream(impl_, std::move(call), bearer);
}

Task<std::string> Service::download(std::string target, std::size_t limit, Bearer bearer) {
  CO_TRY(answer, co_await open_download(std::move(target), std::move(bearer)));
  auto body = std::make_shared<http::StreamResponse>(std::move(answer));
  co_return co_await within(whole_body(body, limit), impl_->options.long_limit);
}

}  // namespace glovebox::runner
