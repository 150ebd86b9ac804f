// One claimed item of the work queue, from its first heartbeat to its end: the lease beats, the
// session's calls run, what was made is put away, the item is stopped unless it is no longer ours.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "net/loop.h"
#include "runner/hands.h"
#include "runner/lease.h"
#include "runner/service.h"
#include "runner/session_runner.h"

namespace glovebox::runner {

// The hands of a session, which are then opened. An error fails the item.
using MakeHands = std::function<Task<std::shared_ptr<Hands>>(Session session)>;

struct ItemOptions {
  SessionOptions session;
  LeaseOptions lease;
  Millis teardown_limit{90'000};                   // of Hands::close()
  Millis first_retry{500}, longest_retry{10'000};  // while the session cannot be read
  // An item that we are asked to leave while calls are open: stop it, where the queue then offers
  // the session anew; else its lease is left to run out, which every queue takes for a lost worker.
  bool stop_with_open_calls = true;
  // An earlier process of ours had it, and its token is gone. What cannot be done with the
  // environment's key alone is left in the same way: claimed anew it has another token.
  bool taken_up = false;
};

struct ItemEnd {
  enum class How {
    done,      // idle, terminated, or nothing to do
    asked,     // stop()
    released,  // the lease ended: see `why`
    failed,    // see `why`
  };
  How how = How::done;
  std::string why;
  bool stopped = false;        // the service has been told the end
  bool ours = false;           // else: still our item, left for whoever comes next
  std::size_t open_calls = 0;  // of ours, without an answer; one where nobody knows
};
std::string_view name(ItemEnd::How how);

class Item {
 public:
  // `key` stands in where the item brought no token of its own.
  Item(net::Loop& loop, Service& service, Work work, Bearer key, MakeHands make,
       ItemOptions options, LeaseStart start = {});
  ~Item();

  // Code::cancelled, or how it ended; whatever happened, it is over.
  Task<ItemEnd> run();
  void stop();  // no further call; the one that runs may finish
  // Told each accepted heartbeat: for a journal.
  void on_beat(std::function<void(const LeaseStart& now)> tell);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::runner
