// HTTP/1.1 client with pooled keep-alive connections, streaming both ways, SSE in, WebSocket, TLS.
#pragma once

#include <memory>
#include <string>

#include "http/message.h"
#include "net/stream.h"

namespace glovebox::http {

struct Url {
  static Result<Url> parse(std::string_view text);  // http, https, and unix:/path for a Unix socket
  std::string scheme, host, path_prefix, unix_path;
  int port = 0;
  std::string authority() const;  // for the Host header
};

struct ClientOptions {
  Millis connect_deadline{10'000};
  Millis head_deadline{300'000};  // from the request's last byte to the end of the answer's head
  Millis body_deadline{300'000};  // between two pieces
  std::size_t body_limit = 64 << 20;
  std::string ca_file = {};     // instead of the system's trusted certificates
  std::string also_trust = {};  // besides them: see net::TlsClient
  net::Reach reach = net::Reach::anywhere;
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;
};

struct StreamResponse {
  int status = 0;
  Headers headers;
  std::unique_ptr<BodyReader>
      body;  // dropping it closes the connection unless it was read to the end
};

class SseReader {  // over a StreamResponse's body: CRLF, split UTF-8, comments, several data:
                   // lines; a line limit
 public:
  explicit SseReader(BodyReader& body, std::size_t limit = 8 << 20);
  ~SseReader();
  Task<std::optional<SseEvent>> next();  // nullopt at the end

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Client {
 public:
  Client(net::Loop& loop, Url base, Headers default_headers = {}, ClientOptions options = {});
  ~Client();
  // `target` is path and query, already encoded. A stale pooled connection is retried once where
  // that does no harm: no body, not POST or PATCH.
  Task<ClientResponse> call(std::string method, std::string target, std::string body = {},
                            Headers headers = {});
  Task<StreamResponse> open(std::string method, std::string target, std::string body = {},
                            Headers headers = {});
  // The body comes from `source` until it gives an empty piece; chunked unless `length` is known.
  Task<ClientResponse> upload(std::string method, std::string target,
                              std::function<Task<std::string>()> source,
                              std::optional<std::uint64_t> length = {}, Headers headers = {});
  Task<std::unique_ptr<WebSocket>> websocket(std::string target, Headers headers = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string encode_query(std::string_view text);  // form-encoding of one value
std::string encode_path(std::string_view segment);

}  // namespace glovebox::http
