// Headers that an operator adds to each request to a service, as the official clients take them in
// ANTHROPIC_CUSTOM_HEADERS: lines of "Name: value".
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

namespace glovebox::http {

// Code::invalid for one that would change how a request is framed, or cannot be sent. The error
// tells the line and not what it says, which may be a credential.
Result<Headers> parse_custom_headers(std::string_view lines);
std::string custom_header_lines(const Headers& headers);  // the other way

}  // namespace glovebox::http
