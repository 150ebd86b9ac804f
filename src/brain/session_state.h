// Where a session stands. Nothing of it is stored: it is a fold over the session's events, so a
// brain that was killed goes on where the log says it was.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "brain/store.h"

namespace glovebox::brain {

enum class Phase {
  idle,          // nothing to do until a message comes
  running,       // the model is asked, or about to be
  waiting,       // tool calls are open: somebody else moves next
  rescheduling,  // a request to the model failed and will be repeated
  terminated,
};
std::string_view name(Phase phase);

// Who a call waits for.
enum class WaitsFor {
  verdict,  // held: a user.tool_confirmation must come first
  worker,   // a user.tool_result
  client,   // a user.custom_tool_result
};

struct OpenCall {
  std::string id;
  std::string tool;
  WaitsFor waits_for;
  bool custom() const { return waits_for == WaitsFor::client; }
};

// A call that is over. Only one that was answered can be "answered again" by a late or repeated
// result; a refused one never could be.
struct ClosedCall {
  bool custom = false;
  std::int64_t answer = 0;  // seq of the first result; 0: refused, there was never a result to give
};

struct QueuedMessage {
  std::string id;
  std::int64_t seq = 0;
  bool starts_turn = true;  // false: a system.message, which only goes along with another
};

// An interrupt has no place here: it is applied in the very batch that brings it.
class SessionState {
 public:
  void apply(const Event& event);

  Phase phase = Phase::idle;
  std::string stop_reason;     // type of the last session.status_idle
  std::vector<OpenCall> open;  // in the order they were made
  std::vector<QueuedMessage> queued;
  std::map<std::string, ClosedCall, std::less<>> closed;
  std::string request;    // span.model_request_start without its end
  bool thought = false;   // an agent.thinking was told since the last answer
  int answers_alone = 0;  // answers of the model since anybody else said something
  Micros running_since = 0;
  std::int64_t last_seq = 0;

  const OpenCall* find_open(std::string_view id) const;
  bool waits_for(WaitsFor whom) const;
  bool has_next_turn() const;                 // a message waits that starts a turn
  void message_applied(std::string_view id);  // it no longer waits

 private:
  void close(std::string_view id, std::int64_t answer);
};

}  // namespace glovebox::brain
