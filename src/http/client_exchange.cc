#include "http/client_exchange.h"

#include "http/text.h"
#include "net/deadline.h"
#include "net/task.h"

namespace glovebox::http {
namespace {

constexpr std::size_t kMaxIdle = 32;
constexpr auto kMaxIdleTime = 60s;  // servers close theirs later: ours after 120 s
constexpr std::size_t kJoinLimit = 64 * 1024;
constexpr std::size_t kWritePiece = 256 * 1024;
constexpr ParserLimits kAnswerLimits{.head = 64 * 1024, .headers = 200};
constexpr Millis kLastWords{1'000};  // for the answer of a server that closed while we were sending

bool is_clean(std::string_view text) {
  for (unsigned char c : text)
    if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
  return true;
}

Result<std::string> request_head(const ClientState& client, const ClientRequest& request) {
  std::string target = client.base.path_prefix + request.target;
  if (!target.starts_with('/')) target.insert(0, "/");
  if (!is_clean(target) || target.contains(' ') || request.method.empty() ||
      !is_clean(request.method))
    return Error{Code::invalid, "a method or target that is not encoded"};
  std::string head = str(request.method, ' ', target, " HTTP/1.1\r\n");
  auto header = [&head](std::string_view name, std::string_view value) {
    head += str(name, ": ", value, "\r\n");
  };

  Headers all = client.default_headers;
  for (const auto& [name, value] : request.headers.all()) all.remove(name);
  for (const auto& [name, value] : request.headers.all()) all.add(name, value);
  if (!all.get("Host")) header("Host", client.base.authority());
  if (!all.get("User-Agent")) header("User-Agent", "glovebox/" GLOVEBOX_VERSION);
  for (const auto& [name, value] : all.all()) {
    if (!is_clean(name) || !is_clean(value))
      return Error{Code::invalid, str("a control character in header ", name)};
    header(name, value);
  }
  if (request.source && !request.length)
    header("Transfer-Encoding", "chunked");
  else if (request.source)
    header("Content-Length", str(*request.length));
  else if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
           request.method == "PATCH")
    header("Content-Length", str(request.body.size()));
  return head + "\r\n";
}

Task<void> send_source(ClientConnection& connection, const ClientRequest& request, Millis limit) {
  std::uint64_t left = request.length.value_or(0);
  for (;;) {
    // Something to read now is an answer before its time (401, 413), or the end: no use in sending
    // on.
    if (!connection.stream->idle())
      co_return Error{Code::unavailable, "the server did not want all of the body"};
    CO_TRY(piece, co_await request.source());
    if (request.length) {
      if (piece.size() > left || (piece.empty() && left > 0))
        co_return Error{Code::invalid, str("the body does not have the ", *request.length,
                                           " bytes it was said to have")};
      left -= piece.size();
      if (piece.empty()) co_return ok;
    } else {
      char size[20];
      auto end = std::to_chars(size, size + sizeof size, piece.size(), 16).ptr;
      bool last = piece.empty();
      piece = std::string(size, end) + "\r\n" + piece + "\r\n";
      if (last) co_return co_await connection.stream->write_all(piece, limit);
    }
    CO_TRY_DO(co_await connection.stream->write_all(piece, limit));
  }
}

Task<void> send_request(ClientConnection& connection, const ClientRequest& request,
                        std::string head, Millis limit) {
  if (request.source) {
    CO_TRY_DO(co_await connection.stream->write_all(head, limit));
    co_return co_await send_source(connection, request, limit);
  }
  std::string_view body = request.body;
  if (body.size() <= kJoinLimit) {
    head += body;
    co_return co_await connection.stream->write_all(head, limit);
  }
  CO_TRY_DO(co_await connection.stream->write_all(head, limit));
  for (; !body.empty(); body.remove_prefix(std::min(body.size(), kWritePiece)))
    CO_TRY_DO(co_await connection.stream->write_all(body.substr(0, kWritePiece), limit));
  co_return ok;
}

Task<bool> more(ClientConnection& connection, Millis limit) {
  auto room = connection.input.room();
  CO_TRY(got, co_await connection.stream->read_some(room, limit));
  connection.input.filled(got);
  co_return got > 0;
}

// "100 Continue" and its like come before the answer and are skipped.
Task<std::unique_ptr<Parser>> read_head(ClientConnection& connection, bool has_no_body,
                                        Millis limit, bool& silent) {
  net::Deadline deadline(limit);
  for (;;) {
    auto parser = response_parser(kAnswerLimits, has_no_body);
    while (!parser->head_done()) {
      std::size_t used = 0;
      if (!connection.input.empty()) {
        auto fed = parser->feed(connection.input.view());
        if (!fed)
          co_return Error{Code::unavailable, str("the answer is not HTTP: ", fed.error().what)};
        connection.input.consume(used = *fed);
      }
      if (used > 0) continue;
      CO_TRY(got, co_await more(connection, deadline.left()));
      if (!got) co_return Error{Code::unavailable, "the server closed the connection"};
      silent = false;
    }
    if (parser->status >= 200 || parser->status == 101) co_return parser;
  }
}

// `silent` stays true when the connection ended before a byte of an answer: it was stale.
Task<std::shared_ptr<ClientExchange>> talk(std::shared_ptr<ClientState> client,
                                           std::unique_ptr<ClientConnection> connection,
                                           const ClientRequest& request, std::string head,
                                           bool& silent) {
  const ClientOptions& options = client->options;
  auto sent = co_await send_request(*connection, request, std::move(head), options.body_deadline);
  if (!sent && sent.error().code != Code::unavailable) co_return std::move(sent.error());
  auto answer = co_await read_head(*connection, request.method == "HEAD",
                                   sent ? options.head_deadline : kLastWords, silent);
  if (!answer) co_return sent ? std::move(answer.error()) : std::move(sent.error());
  auto exchange = std::make_shared<ClientExchange>(std::move(client), std::move(connection),
                                                   std::move(*answer), !sent);
  co_return exchange;
}

bool may_repeat(const ClientRequest& request) {
  return request.body.empty() && !request.source && request.method != "POST" &&
         request.method != "PATCH";
}

}  // namespace

std::unique_ptr<ClientConnection> ClientState::take() {
  auto now = std::chrono::steady_clock::now();
  while (!idle.empty()) {
    auto connection = std::move(idle.back());
    idle.pop_back();
    if (now - connection->idle_since < kMaxIdleTime && connection->stream->idle())
      return connection;
  }
  return nullptr;
}

void ClientState::keep(std::unique_ptr<ClientConnection> connection) {
  if (idle.size() >= kMaxIdle) idle.erase(idle.begin());
  connection->idle_since = std::chrono::steady_clock::now();
  connection->input.shrink();
  idle.push_back(std::move(connection));
}

Task<std::unique_ptr<net::Stream>> connect_to_base(std::shared_ptr<ClientState> client) {
  const Url& base = client->base;
  net::Deadline deadline(client->options.connect_deadline);
  net::Address address{base.unix_path.empty() ? base.host : "", base.port, base.unix_path};
  CO_TRY(stream, co_await net::connect(address, deadline.left(), client->options.reach));
  if (base.scheme != "https") co_return stream;
  net::TlsClient tls{client->options.ca_file, client->options.also_trust};
  co_return co_await net::tls_connect(std::move(stream), base.host, tls, deadline.left());
}

Task<std::shared_ptr<ClientExchange>> begin(std::shared_ptr<ClientState> client,
                                            ClientRequest request) {
  std::string context =
      str(request.method, ' ', client->base.authority(), request.target.substr(0, 200));
  CO_TRY(head, request_head(*client, request), context);
  if (auto pooled = client->take()) {
    bool silent = true;
    auto exchange = co_await talk(client, std::move(pooled), request, head, silent);
    // The server may have closed it in the moment we sent. Once more on a new one, where repeating
    // does no harm.
    bool stale = !exchange && silent && exchange.error().code == Code::unavailable;
    if (!stale || !may_repeat(request)) {
      if (!exchange) co_return std::move(exchange.error()).with(context);
      co_return exchange;
    }
  }
  CO_TRY(stream, co_await connect_to_base(client), context);
  auto connection = std::make_unique<ClientConnection>(std::move(stream));
  bool silent = true;
  auto exchange = co_await talk(client, std::move(connection), request, std::move(head), silent);
  if (!exchange) co_return std::move(exchange.error()).with(context);
  co_return exchange;
}

Task<std::string> read_answer(std::shared_ptr<ClientExchange> exchange) {
  Parser& answer = *exchange->answer;
  for (;;) {
    if (!answer.body.empty()) co_return std::exchange(answer.body, {});
    if (answer.done()) break;
    ClientConnection& connection = *exchange->connection;
    if (!connection.input.empty()) {
      auto used = answer.feed(connection.input.view());
      if (!used)
        co_return Error{Code::unavailable, str("the answer is not HTTP: ", used.error().what)};
      connection.input.consume(*used);
      if (*used > 0) continue;
    }
    CO_TRY(got, co_await more(connection, exchange->client->options.body_deadline),
           "read the answer");
    if (got) continue;
    auto ended = answer.feed_end();
    if (!ended) co_return Error{Code::unavailable, "the answer was cut off"};
  }
  if (exchange->connection && answer.keep_alive() && !exchange->abandoned &&
      exchange->connection->input.empty())
    exchange->client->keep(std::move(exchange->connection));
  exchange->connection.reset();
  co_return "";
}

}  // namespace glovebox::http
