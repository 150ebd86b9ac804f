// What executes the tool calls of one session: a box of an engine, or a hand beside the worker.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/loop.h"

namespace glovebox::runner {

struct ToolCall {
  std::string id;     // of the agent.tool_use event: the same call always has the same
  std::string name;   // "bash"
  std::string input;  // JSON object
};

struct ToolResult {
  std::string content;  // JSON: a text, or an array of content blocks
  bool is_error = false;
};

class Hands {
 public:
  virtual ~Hands() = default;
  virtual bool has(std::string_view tool) const = 0;
  // Executes the call, once: asked again with the same id (after a broken connection, or by the
  // next process) it gives the result of the first time. Cancelling the task ends what runs. An
  // Error means that no result can be had: what is wrong with the call itself is a result.
  virtual Task<ToolResult> call(ToolCall call) = 0;
  // The session has ended here; what was made for it stays or goes, as its maker likes.
  virtual Task<void> close() = 0;
};

}  // namespace glovebox::runner
