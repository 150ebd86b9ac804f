// The alphabets of HTTP: header names, percent-encoding.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::http {

bool same_name(std::string_view a, std::string_view b);         // without case
bool has_token(std::string_view list, std::string_view token);  // in a comma-separated header value

// Every '%' starts two hex digits, and none of them make a NUL.
bool valid_percent(std::string_view text);
std::string percent_decode(std::string_view text);  // invalid sequences stay as they are
std::string form_decode(std::string_view text);     // '+' is a space, too

// {"error": what, "code": tag, "request_id": id}
std::string error_body(std::string_view what, std::string_view tag, std::string_view request_id);

}  // namespace glovebox::http
