#pragma once

#include "http/message.h"

namespace glovebox::http {

struct Framing {  // how the body of an answer is marked off
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool close = false;
  bool keep_alive_10 = false;  // HTTP/1.0 clients must be told
};

// The head of an answer, with Date and X-Request-Id. What a handler put into Content-Length,
// Transfer-Encoding and Connection is ours to say and left out.
std::string response_head(const Response& response, const Framing& framing,
                          std::string_view request_id);

}  // namespace glovebox::http
