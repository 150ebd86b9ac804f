// The engine's end of the hand protocol: one connection to the hand of one box. Everything that
// comes in is hostile: a frame that is not of the protocol, out of order, for an id nobody asked,
// or beyond a limit drops this connection and nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "net/loop.h"
#include "net/stream.h"
#include "wire/hand.h"

namespace glovebox::engine {

struct OutputEvent {
  std::uint64_t offset = 0;
  std::uint8_t stream = wire::kStdout;
  std::int64_t unix_ms = 0;
  std::string bytes;
};
struct GapEvent {
  std::uint64_t from = 0, to = 0;
};
struct ExitedEvent {
  wire::ProcessInfo info;
};
using ProcessEvent = std::variant<OutputEvent, GapEvent, ExitedEvent>;

class HandConnection;
struct AttachedStream;

// A reader of one process's output, until ExitedEvent. Dropping it detaches. What is read is
// acknowledged at the next call.
class Attachment {
 public:
  ~Attachment();
  const wire::ProcessInfo& info() const;  // as it was when we attached
  // Code::timeout when nothing came within `limit` (try again); any other error is the end.
  Task<ProcessEvent> next(Millis limit);

 private:
  friend class HandLink;
  explicit Attachment(std::shared_ptr<AttachedStream> stream);
  std::shared_ptr<AttachedStream> stream_;
};

// Calls of several tasks may be under way at once. A call that is cancelled is finished behind the
// caller's back; a start that nobody waits for any more and that was to be attached is killed. A
// request that is not answered in time means that the hand hangs: the connection is dropped.
class HandLink : public std::enable_shared_from_this<HandLink> {
 public:
  // `path` is the hand's listening socket on the host's side. Says hello and waits for the welcome.
  static Task<std::shared_ptr<HandLink>> connect(net::Loop& loop, std::string path, Millis limit,
                                                 Millis answer_limit = std::chrono::seconds(30));
  ~HandLink();

  bool alive() const;  // false once the connection broke: connect again
  const wire::Welcome& welcome() const;

  Task<wire::ProcessInfo> start(wire::StartSpec spec);  // Attach::none
  // `patience`: for so long the answer is looked for without sleeping. A processor that has nothing
  // else to do takes longer to wake than most tool calls take; ours stays awake, and the others'
  // steps follow one another on the next.
  Task<std::unique_ptr<Attachment>> start_attached(wire::StartSpec spec,
                                                   std::chrono::microseconds patience = {});
  Task<std::unique_ptr<Attachment>> attach(std::uint64_t handle, bool hold, std::uint64_t from);
  // Returns when all of it was taken, which may be never: a process need not read. Concurrent calls
  // for one handle share its window.
  Task<void> write_stdin(std::uint64_t handle, std::string bytes);
  Task<void> close_stdin(std::uint64_t handle);
  // All there is, and its end. Where they fit one piece they go together, which saves a way there
  // and back.
  Task<void> give_stdin(std::uint64_t handle, std::string bytes);
  Task<void> signal(std::uint64_t handle, int number, bool whole_cgroup);
  // The same without waiting for an answer, for destructors and cancelled tasks.
  void signal_now(std::uint64_t handle, int number, bool whole_cgroup);
  Task<void> resize(std::uint64_t handle, std::uint32_t rows, std::uint32_t cols);
  Task<std::vector<wire::ProcessInfo>> list();
  Task<wire::ProcessInfo> get(std::uint64_t handle_or_pid);
  Task<void> forget(std::uint64_t handle);
  void forget_now(std::uint64_t handle);
  Task<void> ping(Millis limit);
  Task<void> shutdown(Millis grace);
  std::size_t open_operations() const;  // requests without an answer, and attachments

 private:
  explicit HandLink(std::shared_ptr<HandConnection> connection);
  std::shared_ptr<HandConnection> connection_;
};

}  // namespace glovebox::engine
