#include "http/client.h"

#include "http/client_exchange.h"
#include "http/websocket.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

class AnswerBody final : public BodyReader {
 public:
  explicit AnswerBody(std::shared_ptr<ClientExchange> exchange) : exchange_(std::move(exchange)) {}
  Task<std::string> read() override { return read_answer(exchange_); }

 private:
  std::shared_ptr<ClientExchange> exchange_;
};

Task<ClientResponse> complete(std::shared_ptr<ClientState> client, ClientRequest request) {
  std::size_t limit = client->options.body_limit;
  CO_TRY(exchange, co_await begin(std::move(client), std::move(request)));
  ClientResponse response{exchange->answer->status, std::move(exchange->answer->headers), {}};
  for (;;) {
    CO_TRY(piece, co_await read_answer(exchange));
    if (piece.empty()) co_return response;
    if (response.body.size() + piece.size() > limit)
      co_return Error{Code::too_large, str("an answer over ", limit, " bytes")};
    response.body += piece;
  }
}

Task<StreamResponse> open_stream(std::shared_ptr<ClientState> client, ClientRequest request) {
  CO_TRY(exchange, co_await begin(std::move(client), std::move(request)));
  StreamResponse response{exchange->answer->status, std::move(exchange->answer->headers), nullptr};
  response.body = std::make_unique<AnswerBody>(std::move(exchange));
  co_return response;
}

Task<std::unique_ptr<WebSocket>> open_websocket(std::shared_ptr<ClientState> client,
                                                std::string target, Headers headers) {
  CO_TRY(stream, co_await connect_to_base(client));
  Headers all = client->default_headers;
  for (const auto& [name, value] : headers.all()) all.set(name, value);
  std::string host(all.get("Host").value_or(client->base.authority()));
  all.remove("Host");  // the handshake sets it
  co_return co_await request_websocket(std::move(stream), std::move(host),
                                       client->base.path_prefix + target, std::move(all),
                                       client->options.connect_deadline);
}

}  // namespace

struct Client::Impl {
  std::shared_ptr<ClientState> state;
};

Client::Client(net::Loop&, Url base, Headers default_headers, ClientOptions options)
    : impl_(std::make_unique<Impl>()) {
  impl_->state = std::make_shared<ClientState>(std::move(base), std::move(default_headers),
                                               std::move(options));
}
Client::~Client() = default;

Task<ClientResponse> Client::call(std::string method, std::string target, std::string body,
                                  Headers headers) {
  return complete(impl_->state, {.method = std::move(method),
                                 .target = std::move(target),
                                 .body = std::move(body),
                                 .headers = std::move(headers)});
}

Task<StreamResponse> Client::open(std::string method, std::string target, std::string body,
                                  Headers headers) {
  return open_stream(impl_->state, {.method = std::move(method),
                                    .target = std::move(target),
                                    .body = std::move(body),
                                    .headers = std::move(headers)});
}

Task<ClientResponse> Client::upload(std::string method, std::string target,
                                    std::function<Task<std::string>()> source,
                                    std::optional<std::uint64_t> length, Headers headers) {
  return complete(impl_->state, {.method = std::move(method),
                                 .target = std::move(target),
                                 .source = std::move(source),
                                 .length = length,
                                 .headers = std::move(headers)});
}

Task<std::unique_ptr<WebSocket>> Client::websocket(std::string target, Headers headers) {
  return open_websocket(impl_->state, std::move(target), std::move(headers));
}

}  // namespace glovebox::http
