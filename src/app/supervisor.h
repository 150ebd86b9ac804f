// Starts the parts, each as a process of its own, restarts what dies, stops all of them together.
// One poll() loop, one thread.
//
// The supervisor holds what must outlive a part: its listening socket (connections wait while the
// part restarts), the keys, the lock of the instance. A part whose supervisor is gone stops by
// itself.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/channel.h"
#include "app/config.h"
#include "app/parts.h"
#include "app/state.h"
#include "app/users.h"
#include "base/secret.h"
#include "sys/process.h"

namespace glovebox::app {

struct SupervisorOptions {
  Config config;
  std::vector<const PartSpec*> parts;
  std::string program;           // ours, to start parts with
  cli::Environment environment;  // only what part_environment() picks from it goes on
  std::map<std::string, Secret, std::less<>> keys;  // by name; each beats the key file
  bool log_to_files = false;                        // else the parts' stderr is ours
  std::function<void(const std::string&)> note;     // progress, for people
  std::function<void(const Endpoints&)> ready;      // once, when all parts serve
  std::string claims = std::string(kClaims);        // of user ids: see users.h
};

class Supervisor {
 public:
  // Takes the lock and the sockets: what can be refused is refused before anything starts.
  static Result<std::unique_ptr<Supervisor>> make(SupervisorOptions options);
  ~Supervisor();
  // Until SIGTERM, SIGINT or SIGHUP and all parts have stopped, the last first. An error: a part
  // could not be started at first.
  Result<void> run();

 private:
  using Time = std::chrono::steady_clock::time_point;
  enum class Phase {
    waiting,   // to be started at `due`
    starting,  // has until `due` to say that it serves
    serving,
    ended,  // we are stopping
  };
  struct Part {
    const PartSpec* spec = nullptr;
    std::optional<User> user;  // none: root
    Fd listener;               // none: it listens nowhere
    Phase phase = Phase::waiting;
    bool told_to_stop = false;
    Time due{}, since{};
    Millis backoff{};
    std::optional<sys::Process> process;
    Channel channel;
    std::string reason;  // its own last words
    PartStatus status;
  };

  explicit Supervisor(SupervisorOptions options);
  // supervisor_start.cc
  Result<void> prepare();
  Result<void> open_part(const PartSpec& spec);
  Result<void> open_listener(Part& part);
  Result<void> start(Part& part);
  Result<void> greet(Part& part);
  Result<void> send_keys(Part& part);
  Result<Secret> key(const std::string& name, bool make);
  Result<Secret> certificate() const;
  Result<void> watch_keys();
  void keys_changed();
  // supervisor.cc
  void hear(Part& part);
  void ended(Part& part, int wait_status);
  void reap();
  void take_signals();
  void stop();
  void stop_next();
  void tick(Time now);
  void rotate_logs(Time now);
  Time next_due(Time now) const;
  void publish();

  SupervisorOptions options_;
  std::optional<InstanceLock> lock_;
  std::optional<EnvironmentLock> environment_;
  std::vector<Part> parts_;
  Fd signals_, key_watch_;
  std::optional<Error> failure_;  // why we stop, if nobody asked us to
  bool stopping_ = false, told_ready_ = false;
  Time stop_due_{}, rotate_due_{}, patience_{};
  std::int64_t started_ms_ = 0;
};

// More than a part takes to drain; `down` waits for longer than this.
Millis stop_limit(const Config& config);
// How long to wait before the next start of a part that ran for `ran`.
Millis next_backoff(Millis last, Millis ran);
// The URL clients use for a socket that listens on `listen` and got `port`.
std::string client_url(const std::string& listen, int port);
std::string describe_exit(int wait_status);

}  // namespace glovebox::app
