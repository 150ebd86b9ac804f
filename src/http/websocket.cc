#include "http/websocket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/this_coro.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "http/stream_adapter.h"
#include "http/text.h"
#include "net/deadline.h"

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
namespace ws = boost::beast::websocket;

namespace glovebox::http {
namespace {

constexpr Millis kPingEvery{30'000};
constexpr Millis kHandshakeLimit{15'000};
constexpr Millis kCloseLimit{3'000};
constexpr Millis kWriteLimit{60'000};
constexpr Millis kFirstWord{50};

// Without permessage-deflate: compression of mixed-trust data leaks it, and its windows cost
// memory.
using Stream = ws::stream<StreamAdapter, false>;

// One operation of Beast. It is not tied to the task that waits for it: when the task is cancelled
// the operation goes on, and the next caller waits for it first. So cancelling a read loses no
// message.
struct Operation {
  bool running = false;
  beast::error_code error;
  net::Event ended;

  template <class... Ignored>
  auto start(std::shared_ptr<void> keep) {
    running = true;
    return [this, keep = std::move(keep)](beast::error_code result, Ignored...) {
      running = false;
      error = result;
      ended.notify();
    };
  }
  Task<void> wait(Millis limit) {
    net::Deadline deadline(limit);
    while (running) CO_TRY_DO(co_await ended.wait(deadline.left()));
    co_return ok;
  }
};

Error ws_error(const beast::error_code& error) {
  if (error == ws::error::message_too_big || error == ws::error::buffer_overflow)
    return Error{Code::too_large,
                 str("a WebSocket message over ", kWebSocketMessageLimit, " bytes")};
  if (error == ws::error::closed || error == asio::error::eof ||
      error == asio::error::connection_reset || error == asio::error::operation_aborted)
    return Error{Code::gone, "the other side closed the WebSocket"};
  return Error{Code::invalid, str("WebSocket: ", error.message())};
}

// The state all operations share; it lives until the last of them has ended.
struct Socket : std::enable_shared_from_this<Socket> {
  Stream stream;
  beast::flat_buffer incoming{kWebSocketMessageLimit + 16 * 1024};
  Operation shaking, reading, writing, pinging, closing;
  std::string outgoing, close_reason;
  bool has_message = false;  // in `incoming`
  bool heard = false;        // anything since the last ping
  bool close_started = false;
  bool patient = false;
  bool pings = true;
  bool greeted = true;  // the other side was heard, or had time enough
  net::Event sign;      // of it

  Socket(asio::any_io_executor executor, std::shared_ptr<net::Stream> plain, std::string early)
      : stream(StreamAdapter(std::move(executor), std::move(plain), std::move(early))) {
    ws::stream_base::timeout limits{};
    limits.handshake_timeout = kHandshakeLimit;
    limits.idle_timeout =
        ws::stream_base::none();  // keep_alive() below knows when nobody reads, Beast does not
    limits.keep_alive_pings = false;
    stream.set_option(limits);
    stream.read_message_max(kWebSocketMessageLimit);
    stream.auto_fragment(false);
  }
};

using SocketPtr = std::shared_ptr<Socket>;

// A read is always under way unless a message waits to be taken: pings and the end are noticed
// without a reader.
void read_ahead(SocketPtr socket) {
  if (socket->reading.running || socket->has_message || socket->reading.error) return;
  auto taken = socket->reading.start<std::size_t>(socket);
  socket->stream.async_read(
      socket->incoming, [socket, taken = std::move(taken)](beast::error_code error, std::size_t n) {
        socket->has_message = !error;
        socket->heard = true;
        socket->sign.notify();
        taken(error, n);
      });
}

Task<WebSocket::Message> read_message(SocketPtr socket) {
  read_ahead(socket);
  CO_TRY_DO(co_await socket->reading.wait(net::kForever));
  if (!socket->has_message) co_return ws_error(socket->reading.error);
  WebSocket::Message message;
  message.kind = socket->stream.got_text() ? WebSocket::Kind::text : WebSocket::Kind::binary;
  message.data = beast::buffers_to_string(socket->incoming.data());
  socket->incoming.consume(socket->incoming.size());
  socket->has_message = false;
  read_ahead(socket);
  co_return message;
}

// Libraries tell their program that the socket is open and lose what came in one piece with the
// answer to the handshake, before it could say who listens. So who has accepted waits a moment with
// its first word, or until the other side was heard. (A ping would ask for that, but the tunnels of
// a library we serve answer one with a frame that is not masked.)
Task<void> greet(SocketPtr socket) {
  net::Deadline deadline(kFirstWord);
  while (!socket->greeted && !socket->heard && deadline.left() > 0ms) {
    auto waited = co_await socket->sign.wait(deadline.left());
    if (!waited && waited.error().code == Code::cancelled) co_return std::move(waited.error());
  }
  socket->greeted = true;
  co_return ok;
}

Task<void> write_message(SocketPtr socket, WebSocket::Kind kind, std::string data) {
  CO_TRY_DO(co_await greet(socket));
  CO_TRY_DO(co_await socket->writing.wait(socket->patient ? net::kForever : kWriteLimit));
  if (socket->close_started) co_return Error{Code::gone, "the WebSocket is closed"};
  if (socket->writing.error) co_return ws_error(socket->writing.error);
  socket->outgoing = std::move(data);
  socket->stream.text(kind == WebSocket::Kind::text);
  socket->stream.async_write(asio::buffer(socket->outgoing),
                             socket->writing.start<std::size_t>(socket));
  CO_TRY_DO(co_await socket->writing.wait(socket->patient ? net::kForever : kWriteLimit));
  if (socket->writing.error) co_return ws_error(socket->writing.error);
  co_return ok;
}

Task<void> close_socket(SocketPtr socket, int code, std::string reason) {
  CO_TRY_DO(co_await greet(socket));
  if (std::exchange(socket->close_started, true)) co_return ok;
  if (!socket->stream.is_open()) co_return ok;
  // What was sent may still wait to be read: a patient side lets the reader get to the end of it.
  net::Deadline deadline(socket->patient ? net::kForever : kCloseLimit);
  CO_TRY_DO(co_await socket->writing.wait(deadline.left()));
  // Beast reads until the other side's close; a message that nobody took would be in its way.
  ws::close_reason why(static_cast<ws::close_code>(code), reason.substr(0, 120));
  socket->stream.async_close(why, socket->closing.start(socket));
  CO_TRY_DO(co_await socket->closing.wait(deadline.left()));
  co_return ok;
}

// TCP asks whether the other side's machine is there, and no program has to answer. False: this is
// no socket of TCP's own.
bool keep_asking(int socket) {
  const int on = 1, idle = 30, between = 10, times = 3;
  return ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 &&
         ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) == 0 &&
         ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between) == 0 &&
         ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times) == 0;
}

// Silent for a whole interval after a ping: gone without a word.
Task<void> keep_alive(SocketPtr socket) {
  for (bool pinged = false;; pinged = true) {
    CO_TRY_DO(co_await net::sleep(kPingEvery));
    if (!socket->pings) co_return ok;
    bool deaf = socket->has_message;  // while nobody takes the message nothing can be heard
    if (pinged && !socket->heard && !deaf && !socket->patient) {
      socket->stream.next_layer().stream().close();
      co_return ok;
    }
    socket->heard = deaf;
    if (!socket->pinging.running && socket->stream.is_open())
      socket->stream.async_ping({}, socket->pinging.start(socket));
  }
}

class BeastWebSocket final : public WebSocket {
 public:
  explicit BeastWebSocket(SocketPtr socket)
      : socket_(std::move(socket)), tasks_(socket_->stream.get_executor()) {
    socket_->stream.control_callback([socket = socket_.get()](ws::frame_type, beast::string_view) {
      socket->heard = true;
      socket->sign.notify();
    });
    tasks_.spawn("websocket.keep_alive", keep_alive(socket_));
    read_ahead(socket_);
  }
  ~BeastWebSocket() override { socket_->stream.next_layer().stream().close(); }
  Task<Message> read() override { return read_message(socket_); }
  Task<void> write(Kind kind, std::string data) override {
    return write_message(socket_, kind, std::move(data));
  }
  Task<void> close(int code, std::string reason) override {
    return close_socket(socket_, code, std::move(reason));
  }
  void be_patient() override {
    socket_->patient = true;
    ws::stream_base::timeout none{ws::stream_base::none(), ws::stream_base::none(), false};
    socket_->stream.set_option(none);  // Beast's own limit is on closing too
    socket_->stream.next_layer().set_write_limit(net::kForever);
    if (keep_asking(socket_->stream.next_layer().stream().socket())) socket_->pings = false;
  }

 private:
  SocketPtr socket_;
  net::TaskGroup tasks_;
};

void copy_headers(const Headers& from, auto& to) {
  for (const auto& [name, value] : from.all()) to.insert(name, value);
}

Code code_of(int status) {
  for (Code code : {Code::unauthenticated, Code::forbidden, Code::not_found, Code::conflict,
                    Code::gone, Code::exhausted})
    if (status_of(code) == status) return code;
  return status < 500 ? Code::invalid : Code::unavailable;
}

}  // namespace

bool is_websocket_handshake(std::string_view method, int minor_version, const Headers& headers) {
  auto has = [&](std::string_view name, std::string_view token) {
    return has_token(headers.get(name).value_or(""), token);
  };
  return method == "GET" && minor_version == 1 && has("Connection", "upgrade") &&
         has("Upgrade", "websocket") && has("Sec-WebSocket-Version", "13") &&
         headers.get("Sec-WebSocket-Key").value_or("").size() == 24;
}

Task<std::unique_ptr<WebSocket>> accept_websocket(std::shared_ptr<net::Stream> stream,
                                                  std::string early, Headers request,
                                                  Headers extra) {
  auto socket = std::make_shared<Socket>(co_await asio::this_coro::executor, std::move(stream),
                                         std::move(early));
  socket->stream.set_option(ws::stream_base::decorator(
      [extra = std::move(extra)](ws::response_type& response) { copy_headers(extra, response); }));
  auto handshake = std::make_shared<bhttp::request<bhttp::empty_body>>(bhttp::verb::get, "/", 11);
  copy_headers(request, *handshake);
  socket->stream.async_accept(*handshake, [handshake, ended = socket->shaking.start(socket)](
                                              beast::error_code error) { ended(error); });
  CO_TRY_DO(co_await socket->shaking.wait(kHandshakeLimit));
  if (socket->shaking.error) co_return ws_error(socket->shaking.error);
  socket->greeted = false;
  co_return std::make_unique<BeastWebSocket>(std::move(socket));
}

Task<std::unique_ptr<WebSocket>> request_websocket(std::shared_ptr<net::Stream> stream,
                                                   std::string host, std::string target,
                                                   Headers extra, Millis limit) {
  auto socket = std::make_shared<Socket>(co_await asio::this_coro::executor, std::move(stream), "");
  socket->stream.set_option(ws::stream_base::decorator(
      [extra = std::move(extra)](ws::request_type& request) { copy_headers(extra, request); }));
  auto response = std::make_shared<ws::response_type>();
  socket->stream.async_handshake(
      *response, host, target,
      [response, ended = socket->shaking.start(socket)](beast::error_code error) { ended(error); });
  auto waited = co_await socket->shaking.wait(limit);
  if (!waited) {
    socket->stream.next_layer().stream().close();
    co_return waited.error();
  }
  if (socket->shaking.error == ws::error::upgrade_declined)
    co_return Error{code_of(response->result_int()),
                    str("WebSocket refused with status ", response->result_int())};
  if (socket->shaking.error) co_return ws_error(socket->shaking.error);
  co_return std::make_unique<BeastWebSocket>(std::move(socket));
}

}  // namespace glovebox::http
