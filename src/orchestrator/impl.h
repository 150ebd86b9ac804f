// What the parts of an orchestrator share. Only for its own files.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "orchestrator/boxes.h"
#include "orchestrator/environment_lock.h"
#include "orchestrator/journal.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/uplink_api.h"
#include "runner/item.h"
#include "runner/service.h"

namespace glovebox::orchestrator {

struct Orchestrator::Impl {
  Impl(net::Loop& on, Options given, Keys keys, http::Url service_url, http::Url engine_url,
       Journal opened);

  net::Loop& loop;
  const Options options;
  // Shared with the calls that are under way, which see a change at once.
  const std::shared_ptr<Secret> environment_key, engine_key, uplink_key, stats_key;
  const std::shared_ptr<runner::Service> service;
  const std::shared_ptr<Boxes> boxes;
  // For workers inside, and for a box that takes webhooks; else null.
  std::shared_ptr<EngineApi> engine;
  std::shared_ptr<UplinkApi> uplink;
  Journal journal;
  std::optional<EnvironmentLock> lock;
  std::string environment;  // once it is known
  bool service_is_ours = false;

  struct Active {
    std::string work;
    std::function<void()> stop;  // asks it to end; none while it is being claimed
  };
  std::map<std::string, Active, std::less<>> sessions;  // one item for each, at most
  std::size_t places = 0;  // taken by items, from their claim to their end
  bool draining = false;
  bool hinted = false;  // since the queue was asked last
  // An item went back to the queue, which offers it again after a while.
  std::optional<std::chrono::steady_clock::time_point> look_again;
  std::string trouble;
  std::string last_checked;  // session, of those asked about by clean-up
  net::Event changed;        // an item has ended, a key has changed, a hint came, a drain begins
  net::TaskGroup items, watches;

  bool busy = false;  // as on_busy was told

  bool full() const { return places >= static_cast<std::size_t>(options.max_sessions); }
  void hint();
  void comes_again();
  void set_busy(bool now);
  void set_trouble(std::string_view where, const Error& error);
  void clear_trouble();
};

using Impl = std::shared_ptr<Orchestrator::Impl>;

// The session's place among those held; gone with whoever has it.
class Seat {
 public:
  Seat(Impl impl, std::string session, std::string work);
  Seat(const Seat&) = delete;
  ~Seat();

 private:
  Impl impl_;
  std::string session_;
};

// An item's place among those there is room for.
class Place {
 public:
  explicit Place(Impl impl) : impl_(std::move(impl)) { ++impl_->places; }
  Place(const Place&) = delete;
  ~Place() {
    --impl_->places;
    impl_->changed.notify();
  }

 private:
  Impl impl_;
};

// Waits for `time`, but not over a drain.
Task<void> pause(Impl impl, Millis time);
// The service refuses us for good: an error where that is the end; else comes back to try again.
Task<void> refused(Impl impl, Error error);

// That we alone of this machine serve that environment; none where there is nowhere to say so.
Result<std::optional<EnvironmentLock>> lock_of(const Orchestrator::Impl& impl,
                                               const std::string& environment);
// The environment from the service, where it is one of ours.
Task<void> learn_environment(Impl impl);
// Until a drain, or the service refuses us and that is the end.
Task<void> poll_for_work(Impl impl);
// Warns when somebody else takes from the same queue, where we may see that.
Task<void> watch_stats(Impl impl);

// leftovers.cc: boxes and volumes of sessions that are over, or were long not used.
Task<void> keep_clean(Impl impl);
// pool_size.cc
Task<void> keep_pool(Impl impl);

// webhook_box.cc
Task<void> keep_webhook_box(Impl impl);
Task<void> hear_hints(Impl impl);

// serve.cc: wish_of, or that we cannot have it.
Result<BoxWish> wish_for(Impl impl, const runner::Session& session);
// What a session's metadata asks to have in its box; `bearer` reads the service's files.
Preparation preparation_of(Impl impl, const std::string& session, const BoxWish& wish,
                           runner::Bearer bearer);
// That the session has a box, for clean-up. To be said before it is made: nothing is looked for in
// a list, and what nobody noted stays for ever.
void note_box(Impl impl, const std::string& session);
// In the session itself, where the service is ours: why it has no box, or not its files.
Task<void> tell_session(Impl impl, std::string session, std::string why, runner::Bearer bearer);

// One item from its claim to its end, in the background; `from` is what the journal has of it.
void start_item(Impl impl, runner::Work work, std::optional<Claim> from);

}  // namespace glovebox::orchestrator
