// GET /api/v1/exec/ws: one process with its streams both ways, lossless. The messages are in
// docs/api.md.
#include "engine/api_lines.h"
#include "engine/api_state.h"
#include "engine/api_stdin.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
using http::Response;
using http::WebSocket;

namespace {

constexpr Millis kFirstMessageLimit{30'000};
constexpr int kDone = 1000, kRefused = 1008;

// First byte of a message.
enum class ToServer : std::uint8_t { stdin_bytes = 0, resize = 1, stdin_end = 4, signal = 5 };
enum class ToClient : std::uint8_t {
  stdout_bytes = 0,
  stderr_bytes = 1,
  started = 2,
  exit = 3,
  gap = 6
};

Task<void> send(WebSocket& socket, ToClient what, std::string payload) {
  payload.insert(payload.begin(), static_cast<char>(what));
  co_return co_await socket.write(WebSocket::Kind::binary, std::move(payload));
}

Task<void> read_first(WebSocket& socket, std::optional<WebSocket::Message>& into) {
  CO_TRY(message, co_await socket.read());
  into = std::move(message);
  co_return ok;
}

Task<std::shared_ptr<Operation>> start(const RunningBox& box, WebSocket& socket) {
  std::optional<WebSocket::Message> first;
  CO_TRY_DO(co_await net::first_of(read_first(socket, first), net::sleep(kFirstMessageLimit)));
  if (!first) co_return Error{Code::timeout, "no first message came"};
  if (first->kind != WebSocket::Kind::text)
    co_return Error{Code::invalid, "the first message must be text: what to start, as JSON"};
  CO_TRY(spec, wire::decode_exec(first->data));
  if (spec.managed)
    co_return Error{Code::invalid, "name, restart and health_check: are not for exec"};
  co_return co_await Operation::start(box.hand, std::move(spec.spec));
}

// What the process says, to its end.
Task<void> relay(std::shared_ptr<Operation> operation, WebSocket& socket) {
  CO_TRY_DO(co_await send(socket, ToClient::started, be(operation->info().pid, 4)));
  for (;;) {
    CO_TRY(event, co_await operation->next(net::kForever));
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      auto what = output->stream == wire::kStderr ? ToClient::stderr_bytes : ToClient::stdout_bytes;
      CO_TRY_DO(co_await send(socket, what, std::move(output->bytes)));
    } else if (auto* gap = std::get_if<GapEvent>(&event)) {
      CO_TRY_DO(co_await send(socket, ToClient::gap, be(gap->from, 8) + be(gap->to, 8)));
    } else {
      CO_TRY_DO(
          co_await send(socket, ToClient::exit, encode_exit(std::get<ExitedEvent>(event).info)));
      co_return co_await socket.close(kDone, "");
    }
  }
}

Error broken(std::string_view what) {
  return Error{Code::invalid, str("a message that is none: ", what)};
}

Task<void> obey(Operation& operation, StdinFeed& feed, WebSocket::Message message) {
  if (message.kind != WebSocket::Kind::binary || message.data.empty())
    co_return broken("text, or nothing");
  const std::string_view payload = std::string_view(message.data).substr(1);
  const std::uint64_t handle = operation.info().handle;
  switch (static_cast<ToServer>(message.data[0])) {
    case ToServer::stdin_bytes: co_return co_await feed.push(std::string(payload));
    case ToServer::stdin_end: feed.end(); co_return ok;
    case ToServer::resize:
      if (payload.size() != 4) co_return broken("a size has four bytes");
      if (operation.info().pty) {
        std::uint32_t cols = std::max<std::uint32_t>(1, be16(payload, 0)),
                      rows = std::max<std::uint32_t>(1, be16(payload, 2));
        (void)co_await operation.hand()->resize(handle, rows, cols);  // it may have ended meanwhile
      }
      co_return ok;
    case ToServer::signal: {
      if (payload.size() != 1) co_return broken("a signal has one byte");
      int number = static_cast<std::uint8_t>(payload[0]);
      if (number < 1 || number > 64) co_return broken("no such signal");
      (void)co_await operation.hand()->signal(handle, number, false);
      co_return ok;
    }
  }
  co_return broken("an unknown first byte");
}

Task<void> listen(ApiState& api, std::shared_ptr<Operation> operation, WebSocket& socket) {
  StdinFeed feed(api.loop, operation->hand(), operation->info().handle);
  for (;;) {
    CO_TRY(message, co_await socket.read());
    CO_TRY_DO(co_await obey(*operation, feed, std::move(message)));
  }
}

Task<void> refuse(WebSocket& socket, const Error& error) {
  Response response = http::error_response(error);
  (void)co_await socket.write(WebSocket::Kind::text, response.body);
  co_return co_await socket.close(kRefused, response.error ? response.error->tag : "");
}

// The process lives for this socket: dropping `operation` before its end kills it with all it
// started.
Task<void> converse(ApiState& api, RunningBox box, WebSocket& socket) {
  socket.be_patient();  // either end may stop reading for as long as it likes
  auto operation = co_await start(box, socket);
  if (!operation) {
    if (operation.error().code == Code::gone && operation.error().tag.empty())
      co_return ok;  // the client itself
    co_return co_await refuse(socket, operation.error());
  }
  auto ended = co_await net::first_of(relay(*operation, socket), listen(api, *operation, socket));
  if (!ended && ended.error().code == Code::invalid)
    co_return co_await refuse(socket, ended.error());
  co_return ended;
}

}  // namespace

Reply exec_socket(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  Response response;
  response.upgrade = [&api, box](WebSocket& socket) { return converse(api, box, socket); };
  co_return response;
}

}  // namespace glovebox::engine
