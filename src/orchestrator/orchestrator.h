// Takes work from one environment's queue and runs each session's tool calls in a box of its own.
//   open() → run() until somebody drains, cancels, or it cannot go on
// It listens nowhere: all it needs it fetches, over HTTP, from the service and from the engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/secret.h"
#include "http/message.h"
#include "net/loop.h"

namespace glovebox::orchestrator {

struct Keys {
  Secret environment;  // of the queue: polls, and stands in where an item has no token of its own
  Secret engine;
  Secret uplink;  // of its control API; only for workers inside
  Secret stats;   // an API key, to see whether somebody else polls too; usually empty
};

// What a session's metadata may ask for: see session_policy.h. "*" in a list: any.
struct Ceiling {
  std::vector<std::string> images, snapshots, volumes;
  bool internet = false;
  // Files and repositories: see session_files.h.
  std::vector<std::string> hosts = {"*"};     // of URLs
  std::vector<std::string> directories = {};  // "NAME=/path", of this machine
  std::string also_trust = {};                // certificates of such hosts, besides the system's
  std::uint64_t file_bytes = 1 << 30;         // of all for one box
  Millis file_time{300'000};
};

// What stays of a session that is not held. 0 is no limit.
struct Keep {
  Millis boxes_for{0};    // unused so long they go
  std::size_t boxes = 0;  // of those the longest unused go first
  Millis volumes_for{0};  // outputs and the sessions' own volumes, from when they were last used
};

// Boxes made ahead, between so many, as the queue has need of them. most == 0: none.
struct PoolSize {
  std::int64_t least = 0, most = 0;
  std::string image = "host";
};

struct Options {
  std::string state_dir;  // the journal is in it; "": nothing is remembered over a crash
  // Where the orchestrators of this machine leave their locks, one per environment; "": state_dir.
  std::string lock_dir;
  std::string service_url = "https://api.anthropic.com";
  http::Headers headers;       // of every request to the service, also of a worker's inside
  std::string environment_id;  // "": asked from the service, which must then be one of ours
  std::string engine_url = "http://127.0.0.1:8410";
  std::string also_trust;  // certificates besides the system's: see net::TlsClient
  std::string worker_id;   // "": host name and something random

  int max_sessions = 64;    // beyond it work stays in the queue
  Millis max_idle{60'000};  // after a turn's end a session is held this long; 0: for ever
  Millis tool_limit{120'000};
  Millis stall_limit{1'800'000};  // a session with a call open and no progress: its lease is let go
  int poll_block_ms = 999;        // 1..999; 0: no long polls
  std::optional<int> reclaim_older_than_ms;

  // When the queue is asked: all the time, or once somebody says that there may be work (hint()),
  // and from time to time in case a hint was lost.
  enum class Ask { always, on_hint } ask = Ask::always;
  Millis ask_anyway{30'000};
  // Told whenever it changes: whether there is anything to do, from a hint or an item to the moment
  // when the queue is empty and nothing is held. Who runs where it may be put to sleep must be kept
  // awake for as long.
  std::function<void(bool busy)> on_busy = {};

  std::string unpack;  // the path of glovebox-unpack, which reads the archives of skills
  std::string image;   // of new boxes; "": the engine's default
  std::int64_t sandbox_timeout_secs = 3600;
  bool resume_suspended = false;  // else a suspended box is replaced by a clean one
  Ceiling ceiling;                // of what a session's metadata may ask for

  Keep keep;
  PoolSize pool;
  // What a session's metadata names can be fetched from here: there is a network, there are the
  // directories. Else its calls are answered with that it cannot.
  bool fetches = true;

  // Where an item's worker runs: here, with hands that reach into the box, or in the box, against
  // the uplink.
  enum class Runner { outside, inside } runner = Runner::outside;
  std::string uplink_url;  // for Runner::inside, and for a webhook_box

  // The name of a box whose receiver takes webhooks for us; its hints come through the uplink.
  // "": there is none.
  std::string webhook_box;

  // The service refuses us for good (401, 403, 404): stop with the error, or say so and look again
  // every few minutes, and at once when a key changes.
  enum class Refused { stop, wait } when_refused = Refused::wait;

  struct Pace {                                     // of asking; for tests
    Millis first_retry{500}, longest_retry{8'000};  // of a request
    Millis empty_least{1'000}, empty_most{3'000};   // after an empty poll that did not wait
    Millis first_backoff{1'000}, longest_backoff{60'000};
    Millis refused{300'000};
    Millis stats{60'000};
    Millis same_session{2'000};  // for a session's earlier item to end
    Millis supply{5'000};        // between two looks whether a worker inside has its way out
    Millis clean{60'000};        // between two looks at what sessions have left
    Millis pool{2'000};          // … at the queue's depth, for the pool
  } pace;
};

class Orchestrator {
 public:
  // What can be refused is refused here: bad options, a journal that cannot be opened.
  static Result<std::unique_ptr<Orchestrator>> open(net::Loop& loop, Options options, Keys keys);
  ~Orchestrator();

  void set_keys(Keys keys);  // counts from the next request on

  // Takes the environment's lock, goes on with what the journal has, then polls. `ok` after a
  // drain; an error where it cannot go on (the lock is held, the service refuses us and
  // when_refused says stop).
  Task<void> run();

  // There may be work. Any number of hints while the queue is being asked make one more look.
  void hint();

  // No new work; running calls finish; idle leases are released, those with calls still open are
  // handed to the next worker. What has not ended at `limit` is cut. run() ends after it.
  Task<void> drain(Millis limit);

  struct Status {
    std::string environment_id, worker_id;
    std::size_t sessions = 0;  // held now
    std::string trouble;       // why no work comes; "" while all is well
  };
  Status status() const;

  struct Impl;

 private:
  explicit Orchestrator(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

// In a box that takes webhooks: where its receiver is reached, and where that reaches us.
inline constexpr int kWebhookPort = 5051, kWebhookDoorPort = 5052;
inline constexpr std::string_view kWebhookReceiver = "receiver";  // its process

// The name of a session's box: "agent-" and the session's id, made to fit the engine's names. Where
// that loses anything (length, case, characters) a hash of the id is appended, so that two sessions
// never get one box.
std::string box_name(std::string_view session_id);

}  // namespace glovebox::orchestrator
