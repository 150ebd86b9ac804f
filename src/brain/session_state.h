// Where a session stands. Nothing of it is stored: it is a fold over the session's events, so a
// brain that was killed goes on where the log says it was. It has no more in it than what is open:
// it is copied for each change, however long the session has been.
#pragma once

#include <optional>
#include <span>
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
  bool operator==(const OpenCall&) const = default;
};

struct QueuedMessage {
  std::string id;
  std::int64_t seq = 0;
  bool starts_turn = true;  // false: a system.message, which only goes along with another
  bool operator==(const QueuedMessage&) const = default;
};

// An interrupt has no place here: it is applied in the very batch that brings it.
class SessionState {
 public:
  void apply(const Event& event);

  Phase phase = Phase::idle;
  std::string stop_reason;     // type of the last session.status_idle
  std::vector<OpenCall> open;  // in the order they were made
  std::vector<QueuedMessage> queued;
  std::string request;    // span.model_request_start without its end
  bool thought = false;   // an agent.thinking was told since the last answer
  int answers_alone = 0;  // answers of the model since anybody else said something
  Micros running_since = 0;
  std::int64_t last_seq = 0;

  const OpenCall* find_open(std::string_view id) const;
  bool waits_for(WaitsFor whom) const;
  bool has_next_turn() const;  // a message waits that starts a turn
  bool operator==(const SessionState&) const = default;

 private:
  void close(std::string_view id);
};

// Of the events since the session last came to rest: of what was before nothing counts but messages
// that wait still.
Result<SessionState> state_of(SessionStore& store, std::string_view session);

// A call that is over. Only one that was answered can be "answered again" by a late or repeated
// result; a refused one never could be.
struct ClosedCall {
  bool custom = false;
  std::int64_t answer = 0;  // seq of the first result; 0: refused, there was never a result to give
};

// What became of a call that is not open; nothing where the session has no such call. Looked up in
// the log, `fresh` being what is about to be added to it: hardly anybody asks, and what all calls
// of a session became would grow with it.
Result<std::optional<ClosedCall>> closed_call(SessionStore& store, std::string_view session,
                                              std::span<const Event> fresh, std::string_view call);

}  // namespace glovebox::brain
