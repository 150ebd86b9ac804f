#include "gateway/ingress_head.h"

#include <algorithm>

#include "base/str.h"
#include "http/text.h"

namespace glovebox::gateway {

namespace {

void header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

void drop_hop_by_hop(http::Headers& headers) {
  // Names of end-to-end headers a client could otherwise have taken off on the way.
  constexpr std::string_view kKept[] = {"host", "authorization", "cookie", "content-length",
                                        "content-type"};
  std::vector<std::string> named;
  for (const auto& [name, value] : headers.all())
    if (http::same_name(name, "Connection"))
      for (const std::string& one : split(value, ',')) named.push_back(lower(trim(one)));
  for (const std::string& name : named) {
    bool kept = name.empty();
    for (std::string_view one : kKept) kept |= name == one;
    if (!kept) headers.remove(name);
  }
  for (auto name : {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE",
                    "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Content-Length"})
    headers.remove(name);
}

void drop_foreign(http::Headers& headers) {
  constexpr std::string_view kForeign[] = {
      "forwarded",        "x-forwarded-for",    "x-forwarded-host",   "x-forwarded-proto",
      "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix", "x-real-ip",
      "x-original-url",   "x-rewrite-url",      "x-request-id",       "expect"};
  std::vector<std::string> found;
  for (const auto& [name, value] : headers.all()) {
    std::string plain = lower(name);
    std::ranges::replace(plain, '_', '-');
    if (std::ranges::find(kForeign, plain) != std::end(kForeign)) found.push_back(name);
  }
  for (const std::string& name : found) headers.remove(name);
}

void drop_routing(http::Headers& headers) {
  for (auto name :
       {"X-Tensorlake-Sandbox-Id", "X-Tensorlake-Sandbox-Port", "X-Tensorlake-Route-Hint"})
    headers.remove(name);
}

std::string onward_head(const http::Request& request, const std::string& host,
                        const ForwardedFrom& from, const BodyFraming& framing, bool websocket) {
  std::string out;
  out.reserve(1024);
  out.append(request.method).append(" ").append(request.path);
  if (!request.query.empty()) out.append("?").append(request.query);
  out += " HTTP/1.1\r\n";
  header(out, "Host", host);
  for (const auto& [name, value] : request.headers.all())
    if (!http::same_name(name, "Host")) header(out, name, value);
  header(out, "X-Forwarded-For", from.address);
  header(out, "X-Forwarded-Proto", from.secure ? "https" : "http");
  header(out, "X-Forwarded-Host", from.host);
  header(out, "X-Request-Id", request.request_id);
  if (framing.length) header(out, "Content-Length", str(*framing.length));
  if (framing.chunked) header(out, "Transfer-Encoding", "chunked");
  if (websocket) out += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  return out += "\r\n";
}

std::string switching_head(const http::Headers& answer, std::string_view request_id) {
  std::string out = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
  http::Headers headers = answer;
  drop_hop_by_hop(headers);
  header(out, "Upgrade", "websocket");
  header(out, "X-Request-Id", request_id);
  for (const auto& [name, value] : headers.all())
    if (!http::same_name(name, "X-Request-Id")) header(out, name, value);
  return out += "\r\n";
}

bool asks_for_websocket(const http::Request& request) {
  return request.method == "GET" &&
         http::has_token(request.headers.get("Connection").value_or(""), "upgrade") &&
         http::same_name(request.headers.get("Upgrade").value_or(""), "websocket");
}

bool may_repeat(std::string_view method) {
  for (std::string_view one : {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
    if (method == one) return true;
  return false;
}

}  // namespace glovebox::gateway
