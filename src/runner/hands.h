// What executes the tool calls of one session: a box of an engine, or a hand beside the worker.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/loop.h"

namespace glovebox::runner {

// Beside the work directory, where tools that name files may work or only read.
struct ToolRoot {
  std::string path;
  bool read_only = false;
};

struct ToolCall {
  std::string id;     // of the agent.tool_use event: the same call always has the same
  std::string name;   // "bash"
  std::string input;  // JSON object
  std::vector<ToolRoot> roots = {};
};

struct ToolResult {
  std::string content;  // JSON: a text, or an array of content blocks
  bool is_error = false;
};

class Hands {
 public:
  virtual ~Hands() = default;
  virtual bool has(std::string_view tool) const = 0;
  // Makes what the session needs, before the first call and while the lease is kept. An error fails
  // the item.
  virtual Task<void> open();
  // Executes the call, once: asked again with the same id (after a broken connection, or by the
  // next process) it gives the result of the first time. Cancelling the task ends what runs. An
  // Error means that no result can be had: what is wrong with the call itself is a result.
  virtual Task<ToolResult> call(ToolCall call) = 0;
  // Where calls are carried out: another number once a place that was lost has been replaced, and
  // all that was put there is gone.
  virtual std::uint64_t place() const { return 0; }
  // The session has ended here; what was made for it stays or goes, as its maker likes. Once, also
  // after an open() that failed or was cut off.
  enum class End {
    clean,    // nothing more was to be done
    aborted,  // cut off, and the item is ours to stop
    lost,     // somebody else may be serving the session by now
  };
  virtual Task<void> close(End how) = 0;
};

}  // namespace glovebox::runner
