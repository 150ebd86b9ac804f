// The work queue: which session needs a worker, and which worker holds it. The states are those of
// the API (§4.2); what each move sets, and when a state ends by itself, is here alone.
//
//   queued ──claim, ack──► starting ──first beat──► active ──stop──► stopping ──► stopped
//     ▲                        └─────── no beat in time ──┘
#pragma once

#include <map>

#include "base/secret.h"
#include "brain/records.h"
#include "brain/work_queue.h"
#include "net/loop.h"

namespace glovebox::brain {

class Queue final : public WorkQueue {
 public:
  struct Options {
    std::int64_t ttl_secs = 300;
    std::int64_t reap_idle_secs = 300;     // a worker may sit beside an idle session; 0: for ever
    std::function<Micros()> now = now_us;  // only our own clock counts, never a worker's
  };
  Queue(net::Loop& loop, Store& store, Options options);
  ~Queue();

  Result<void> ensure_item(std::string_view session, std::string_view environment) override;
  Result<void> stop_items(std::string_view session) override;

  // Who asks: `by` names the credential; a sessions token is good for one delivery of one item.
  struct Caller {
    std::string by;
    std::optional<std::int64_t> delivery;
    bool repeats = false;  // the client says that it sends this again
  };
  struct Delivery {
    WorkRow work;
    Secret token;  // fresh; the one before is void from now on
  };
  struct Poll {
    std::string environment, worker;
    Millis block{0};
    Millis reclaim{5'000};
  };
  Task<std::optional<Delivery>> poll(Poll poll);
  Result<std::optional<Delivery>> claim(const Poll& poll);
  Result<WorkRow> ack(std::string_view id, const Caller& caller, std::string_view worker);

  struct Beat {
    bool refused = false;  // the lease is not the caller's: 412
    WorkRow work;          // as it is now
    bool extended = false;
  };
  Result<Beat> heartbeat(std::string_view id, std::optional<std::string> expected,
                         std::optional<std::int64_t> desired_ttl_secs, const Caller& caller);
  Result<WorkRow> stop(std::string_view id, bool force, const Caller& caller);

  // Leases that ran out, stops that nobody honoured, workers beside sessions that are idle for
  // long. Called every second or so.
  Result<void> tick();
  std::optional<std::int64_t> workers_polling(std::string_view environment);

 private:
  Result<WorkRow> finish(WorkRow row);
  Result<void> lapse(WorkRow row);
  std::shared_ptr<net::Event> bell_of(const std::string& environment);
  void ring(const std::string& environment);
  void tell_stopped(std::string session);
  void note_worker(const std::string& environment, const std::string& worker);

  net::Loop& loop_;
  Store& store_;
  Options options_;
  std::map<std::string, std::weak_ptr<net::Event>, std::less<>> bells_;  // of environments
  std::map<std::string, std::map<std::string, Micros>, std::less<>> workers_;
  Micros reaped_at_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace glovebox::brain
