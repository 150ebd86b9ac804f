// One engine: frames in, frames out, both bounded.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>

#include "hand/poll.h"
#include "wire/hand.h"

namespace glovebox::hand {

class Connection {
 public:
  Connection(Poll& poll, Fd socket, std::uint64_t id);

  std::uint64_t id() const { return id_; }
  // Takes in what has come, without waiting. False: the engine has gone.
  bool read();
  Result<std::optional<wire::Frame>> next_frame() { return frames_.next(); }
  // Queued; goes out with flush(). An engine that does not take its answers is given up: see
  // lost().
  void send(wire::Type type, std::uint32_t request, std::string_view payload = {});
  void send(std::uint32_t request, const Error& error);
  // Output waits in the rings, not here.
  bool room_for_output() const { return queued() < kOutputQueue; }
  void flush();
  void finish();  // nothing more is heard; gone when all was sent, or soon
  bool finishing() const { return finishing_; }
  std::size_t queued() const { return out_.size() - sent_; }  // not yet sent
  bool lost() const { return lost_ || (finishing_ && queued() == 0); }

  bool greeted = false;
  bool pending = false;                            // there may be output for it
  std::chrono::steady_clock::time_point patience;  // until it has greeted, or is finished
  std::map<std::uint32_t, std::uint64_t> readers;  // request → handle, of every attach and start
  std::uint32_t served = 0;                        // the reader that got output last
  struct Listing {
    std::uint32_t request;
    std::uint64_t next;  // handle
  };
  std::deque<Listing> listings;

 private:
  static constexpr std::size_t kOutputQueue = 256 * 1024;
  static constexpr std::size_t kAnswerQueue = 1024 * 1024;
  Watched socket_;
  std::uint64_t id_;
  wire::FrameReader frames_{wire::FrameReader::From::engine};
  std::string out_;
  std::size_t sent_ = 0;
  bool lost_ = false, finishing_ = false;
};

}  // namespace glovebox::hand
