// The parts of `glovebox env` that decide something.
#pragma once

#include <optional>
#include <string>

#include "cli/command.h"
#include "http/client.h"

namespace glovebox::cli {

Result<std::string> shell_quoted(std::string_view text);
// Refuses a URL whose host the official SDK takes for the cloud's: it would send its key there.
Result<void> safe_for_sdk(const http::Url& url);
// The NO_PROXY to set, where a proxy is configured that clients would use even for this machine.
std::optional<std::string> no_proxy_for(const Environment& env, std::string_view host);

}  // namespace glovebox::cli
