#include "http/message.h"

#include <algorithm>

#include "http/text.h"

namespace glovebox::http {

void Headers::set(std::string_view name, std::string value) {
  remove(name);
  add(name, std::move(value));
}

void Headers::add(std::string_view name, std::string value) {
  constexpr std::size_t kUsual = 12;  // growing step by step would move them all several times
  if (all_.capacity() == 0) all_.reserve(kUsual);
  all_.emplace_back(name, std::move(value));
}

std::optional<std::string_view> Headers::get(std::string_view name) const {
  for (const auto& [own, value] : all_)
    if (same_name(own, name)) return value;
  return std::nullopt;
}

void Headers::remove(std::string_view name) {
  std::erase_if(all_, [&](const auto& header) { return same_name(header.first, name); });
}

std::string Request::param(std::string_view name) const {
  for (const auto& [own, value] : params)
    if (own == name) return value;
  return "";
}

std::optional<std::string> Request::query_value(std::string_view name) const {
  for (std::string_view rest = query; !rest.empty();) {
    auto pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    auto equals = pair.find('=');
    if (form_decode(pair.substr(0, equals)) != name) continue;
    return equals == pair.npos ? "" : form_decode(pair.substr(equals + 1));
  }
  return std::nullopt;
}

static Response with_type(int status, std::string_view type, std::string body) {
  Response response;
  response.status = status;
  response.headers.add("Content-Type", std::string(type));
  response.body = std::move(body);
  return response;
}

Response json(int status, std::string body) {
  return with_type(status, "application/json", std::move(body));
}

Response text(int status, std::string body) {
  return with_type(status, "text/plain; charset=utf-8", std::move(body));
}

Response empty(int status) {
  Response response;
  response.status = status;
  return response;
}

// The one table from our errors to statuses and tags.
int status_of(Code code) {
  switch (code) {
    case Code::invalid: return 400;
    case Code::unauthenticated: return 401;
    case Code::forbidden: return 403;
    case Code::not_found: return 404;
    case Code::conflict: return 409;
    case Code::gone: return 410;
    case Code::too_large: return 413;
    case Code::exhausted: return 429;
    case Code::unsupported: return 501;
    case Code::unavailable: return 503;
    case Code::timeout: return 504;
    case Code::cancelled: return 499;  // as proxies log it: the client has gone, nobody reads this
    case Code::internal: return 500;
  }
  return 500;
}

static std::string tag_of(const Error& error) {
  if (!error.tag.empty()) return error.tag;
  if (error.code == Code::unauthenticated) return "AUTH_REQUIRED";
  if (error.code == Code::internal) return "INTERNAL_ERROR";
  std::string tag(name(error.code));
  std::ranges::transform(tag, tag.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  return tag;
}

std::string error_body(std::string_view what, std::string_view tag, std::string_view request_id) {
  std::string id =
      request_id.empty() ? "" : str(R"(,"request_id":")", json_escape(request_id), '"');
  return str(R"({"error":")", json_escape(what), R"(","code":")", json_escape(tag), '"', id, '}');
}

Response error_response(const Error& error) {
  Response response = json(status_of(error.code), error_body(error.what, tag_of(error), ""));
  response.error = Error{error.code, error.what, tag_of(error)};
  return response;
}

std::string encode(const SseEvent& event) {
  std::string out;
  auto field = [&](std::string_view name, std::string_view value) {
    out += str(name, ": ", value, '\n');
  };
  auto one_line = [](std::string text) {
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == '\0'; });
    return text;
  };
  if (!event.event.empty()) field("event", one_line(event.event));
  if (!event.id.empty()) field("id", one_line(event.id));
  // A carriage return would end the line for the reader too: CRLF and CR become what they mean, a
  // new line.
  std::string_view rest = event.data;
  for (;;) {
    auto end = rest.find_first_of("\r\n");
    field("data", rest.substr(0, end));
    if (end == rest.npos) break;
    rest.remove_prefix(end + (rest.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return out += '\n';
}

}  // namespace glovebox::http
