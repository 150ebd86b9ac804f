// GET /api/v1/tunnels/tcp?port=N: a WebSocket whose binary messages are the bytes of one connection
// to a port inside the sandbox, exposed or not.
#include "engine/api_state.h"
#include "net/stream.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
using http::Response;
using http::WebSocket;

namespace {

constexpr Millis kDialLimit{5'000};  // clients give up after ten
constexpr std::size_t kPiece = 64 * 1024;
constexpr int kDone = 1000, kUnsupported = 1003, kBroken = 1011;
constexpr Millis kAfterClose{30'000};  // for the server inside to say its last words

Result<int> port_param(const Request& request) {
  auto text = request.query_value("port");
  auto port = text ? parse_int<int>(*text) : std::nullopt;
  if (!port || *port < 1 || *port > 65535)
    return Error{Code::invalid, "port: must be a whole number from 1 to 65535"};
  return *port;
}

struct Tunnel {
  std::shared_ptr<net::Stream> stream;
  bool client_done = false;
};
using TunnelPtr = std::shared_ptr<Tunnel>;

// Each side reads on only when the other has taken what came before.
Task<void> inwards(TunnelPtr tunnel, WebSocket& socket) {
  for (;;) {
    auto message = co_await socket.read();
    if (!message && message.error().code == Code::gone) break;
    if (!message) co_return std::move(message.error());
    if (message->kind != WebSocket::Kind::binary)
      co_return co_await socket.close(kUnsupported, "binary messages only");
    // A server that reads as slowly as it likes is none of our business.
    CO_TRY_DO(co_await tunnel->stream->write_all(message->data, net::kForever));
  }
  tunnel->client_done = true;
  tunnel->stream->shutdown_write();
  // Whoever asked has gone; the server sees an orderly end and not a reset.
  co_return co_await net::sleep(kAfterClose);
}

Task<void> outwards(TunnelPtr tunnel, WebSocket& socket) {
  std::string buffer(kPiece, '\0');
  for (;;) {
    auto got = co_await tunnel->stream->read_some(buffer, net::kForever);
    if (tunnel->client_done && (!got || *got == 0)) co_return ok;
    if (!got && got.error().code == Code::cancelled) co_return std::move(got.error());
    if (!got) co_return co_await socket.close(kBroken, "the connection in the sandbox broke");
    if (*got == 0) co_return co_await socket.close(kDone, "");
    if (tunnel->client_done) continue;
    CO_TRY_DO(co_await socket.write(WebSocket::Kind::binary, buffer.substr(0, *got)));
  }
}

Task<void> relay(TunnelPtr tunnel, RunningBox box, WebSocket& socket) {
  socket.be_patient();
  auto done = co_await net::first_of(outwards(tunnel, socket), inwards(tunnel, socket));
  tunnel->stream->close();
  (void)box;  // held: an open connection is an open operation
  co_return done;
}

}  // namespace

Reply tunnel_socket(ApiState& api, Request request) {
  CO_TRY(port, port_param(request));
  CO_TRY(box, co_await box_of(api, request));
  auto stream = co_await api.engine.dial(box.record.id, port, kDialLimit);
  if (!stream && stream.error().code == Code::unavailable) {
    Response refused = http::error_response(stream.error());
    refused.status = 502;
    co_return refused;
  }
  if (!stream) co_return std::move(stream.error());
  auto tunnel = std::make_shared<Tunnel>();
  tunnel->stream = std::move(*stream);
  Response response;
  response.upgrade = [tunnel, box](WebSocket& socket) { return relay(tunnel, box, socket); };
  co_return response;
}

}  // namespace glovebox::engine
