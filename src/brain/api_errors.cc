#include <algorithm>

#include "brain/api.h"
#include "brain/api_body.h"

namespace glovebox::brain {
namespace {

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 402: return "billing_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 409: return "conflict_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 504: return "timeout_error";
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

// The words of the HTTP server itself ("NOT_FOUND") are no codes of this API, which are in lower
// case.
bool is_error_code(std::string_view tag) {
  return !tag.empty() && std::ranges::none_of(tag, [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

std::string error_json(int status, std::string_view message, std::string_view details,
                       std::string_view request_id) {
  return typed_error_json(error_type(status), message,
                          details.empty() ? "" : str(R"("details":)", details), request_id);
}

std::string typed_error_json(std::string_view type, std::string_view message,
                             std::string_view members, std::string_view request_id) {
  return str(R"({"type":"error","error":{"type":")", type, R"(","message":)", text_json(message),
             members.empty() ? "" : ",", members, R"(},"request_id":)", text_json(request_id), '}');
}

void dress(http::Response& response, std::string_view request_id) {
  response.headers.set("request-id", std::string(request_id));
  // The official clients would repeat it, in vain: what conflicts here conflicts for good.
  if (response.status == 409) response.headers.set("x-should-retry", "false");
  if (response.status == 429 && !response.headers.get("retry-after"))
    response.headers.set("retry-after", "1");
  if (!response.error) return;
  const Error& error = *response.error;
  std::string details =
      is_error_code(error.tag) ? str(R"({"error_code":)", text_json(error.tag), '}') : "";
  response.headers.set("Content-Type", "application/json");
  response.body = error_json(response.status, error.what, details, request_id);
}

// Not 501, which the official clients repeat: nothing about the request will ever be right here.
Error later(std::string what) {
  return Error{Code::invalid, str(what, " are not supported by this server")};
}

}  // namespace glovebox::brain
