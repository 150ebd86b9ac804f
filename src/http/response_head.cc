#include "http/response_head.h"

#include <algorithm>
#include <boost/beast/http/status.hpp>
#include <ctime>

#include "http/text.h"

namespace glovebox::http {
namespace {

// "Sun, 06 Nov 1994 08:49:37 GMT", made once a second.
const std::string& http_date() {
  thread_local std::time_t made_for = 0;
  thread_local std::string text;
  std::time_t now = std::time(nullptr);
  if (now == made_for) return text;
  made_for = now;
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char buffer[40];
  text.assign(buffer, std::strftime(buffer, sizeof buffer, "%a, %d %b %Y %H:%M:%S GMT", &utc));
  return text;
}

bool is_ours(std::string_view name) {
  for (std::string_view own :
       {"Content-Length", "Transfer-Encoding", "Connection", "Date", "X-Request-Id"})
    if (same_name(name, own)) return true;
  return false;
}

// A value made of foreign text must not be able to start a header of its own.
void append_value(std::string& out, std::string_view value) {
  auto harmful = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  };
  const std::size_t begin = out.size();
  out += value;
  std::replace_if(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), harmful, ' ');
}

}  // namespace

std::string response_head(const Response& response, const Framing& framing,
                          std::string_view request_id) {
  std::string out;
  out.reserve(512);
  auto header = [&out](std::string_view name, std::string_view value) {
    out.append(name).append(": ");
    append_value(out, value);
    out += "\r\n";
  };
  auto reason =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(response.status));
  out += str("HTTP/1.1 ", response.status, ' ', std::string_view(reason.data(), reason.size()),
             "\r\n");
  header("Date", http_date());
  header("X-Request-Id", request_id);
  for (const auto& [name, value] : response.headers.all())
    if (!is_ours(name)) header(name, value);
  if (framing.length) header("Content-Length", str(*framing.length));
  if (framing.chunked) header("Transfer-Encoding", "chunked");
  if (framing.close)
    header("Connection", "close");
  else if (framing.keep_alive_10)
    header("Connection", "keep-alive");
  return out += "\r\n";
}

}  // namespace glovebox::http
