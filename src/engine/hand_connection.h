// One connection to a hand: frames out, frames in, and the checks that make hostile ones harmless.
// Internal to HandLink and Attachment (hand_link.cc).
#pragma once

#include <deque>
#include <map>

#include "engine/hand_link.h"

namespace glovebox::engine {

// One handle's stdin: bytes sent and not taken yet, of all writers on this connection.
struct StdinWindow {
  std::size_t under_way = 0;
  net::Event room;
};

// A request that waits for its first answer.
struct Call {
  wire::Type expected{};
  bool is_list = false;
  std::vector<wire::ProcessInfo> listed;
  std::shared_ptr<StdinWindow> window;  // of an input, and how much of it is this one
  std::size_t input_bytes = 0;
  bool abandoned = false;  // the caller has gone; the answer is swallowed
  std::optional<Result<wire::Frame>> answer;
  net::Event answered;
};

// What has arrived for an Attachment and was not read yet.
struct AttachedStream {
  std::shared_ptr<HandConnection> connection;
  std::uint32_t id = 0;
  wire::ProcessInfo info;
  std::uint64_t from = 0;      // asked for
  std::uint64_t expected = 0;  // offset of the next byte
  std::deque<ProcessEvent> queue;
  std::size_t unacked = 0;   // bytes received beyond what we acknowledged
  std::size_t consumed = 0;  // of those, bytes our reader has taken, up to the offset consumed_to
  std::uint64_t consumed_to = 0;
  bool detached = false;
  bool ended = false;  // `exited` is in the queue, or was
  std::optional<Error> broken;
  net::Event changed;
};

class HandConnection {
 public:
  HandConnection(net::Loop& loop, std::string path, std::unique_ptr<net::Stream> stream,
                 Millis answer_limit);

  Task<void> greet(Millis limit);
  // `self` is held by the tasks, which run on a little after they were cancelled.
  static void start(const std::shared_ptr<HandConnection>& self);
  void close();  // no task of ours waits any more

  // Sends; the answer comes to `call`, and what follows it to `stream`.
  Result<void> request(wire::Type type, std::string_view payload, std::shared_ptr<Call> call,
                       std::shared_ptr<AttachedStream> stream = nullptr);
  void request_now(wire::Type type,
                   std::string_view payload);  // one that is answered by `ok`, for nobody
  static Task<wire::Frame> answer_of(std::shared_ptr<HandConnection> self,
                                     std::shared_ptr<Call> call, Millis limit);
  // Until something comes, at most so long, without letting go of the processor.
  void look_out(std::chrono::microseconds limit) const;
  void acknowledge(AttachedStream& stream);
  void detach(AttachedStream& stream);
  // Drops the connection for the reason; whoever waits gets Code::unavailable.
  void drop(Error reason);

  std::shared_ptr<StdinWindow> stdin_window(std::uint64_t handle);
  bool broken() const { return broken_; }
  std::size_t open() const { return entries_.size(); }
  const wire::Welcome& welcome() const { return welcome_; }
  Millis answer_limit() const { return answer_limit_; }

  std::size_t listings = 0;  // lists under way
  net::Event listed;

 private:
  struct Entry {
    std::shared_ptr<Call> call;              // until the first answer
    std::shared_ptr<AttachedStream> stream;  // until `exited`, or `ok` after detach
  };
  using Entries = std::map<std::uint32_t, Entry>;

  static Task<void> read_loop(std::shared_ptr<HandConnection> self);
  static Task<void> write_loop(std::shared_ptr<HandConnection> self);
  void send(wire::Type type, std::uint32_t id, std::string_view payload);
  Result<void> receive(wire::Frame frame);
  Result<void> first_answer(Entries::iterator at, wire::Frame frame);
  Result<void> attached(Entries::iterator at, const wire::Frame& frame);
  Result<void> stream_frame(Entries::iterator at, const wire::Frame& frame);

  std::string path_;
  std::unique_ptr<net::Stream> stream_;
  Millis answer_limit_;
  wire::FrameReader frames_{wire::FrameReader::From::hand};
  wire::Welcome welcome_;
  bool broken_ = false;
  Entries entries_;
  std::map<std::uint64_t, std::weak_ptr<StdinWindow>> stdins_;
  std::uint32_t last_id_ = 0;
  std::string unsent_;
  bool writing_ = false;  // the writer has some of it
  net::Event to_send_;
  std::unique_ptr<net::TaskGroup> tasks_;
};

}  // namespace glovebox::engine
