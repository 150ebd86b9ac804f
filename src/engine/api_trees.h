// Trees of a sandbox over HTTP, and what they share with its files.
#pragma once

#include "engine/api_state.h"

namespace glovebox::engine {

Reply list_tree(ApiState& api, http::Request request);
Reply make_tree(ApiState& api, http::Request request);
Reply place_file(ApiState& api, http::Request request);
Reply remove_tree(ApiState& api, http::Request request);

// How a file operation ended. It fails with errno as its exit code and the reason on stderr.
bool succeeded(const wire::ProcessInfo& info);
Error file_error(const wire::ProcessInfo& info, std::string_view stderr_text);

}  // namespace glovebox::engine
