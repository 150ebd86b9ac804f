// The event that answers a tool call. Whatever a tool gave, what is made of it here is something
// the service takes: never empty, never of an unknown shape.
#pragma once

#include <string>
#include <string_view>

#include "runner/event.h"
#include "runner/hands.h"

namespace glovebox::runner {

std::string result_event(const Event& call, const ToolResult& result);
// A text in JSON, as ToolResult::content wants it.
ToolResult error_result(std::string_view message);

}  // namespace glovebox::runner
