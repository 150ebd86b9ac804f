// Managed processes: programs of a sandbox that are kept running by a policy of restarts and a
// check of their health. What is wanted is on disk before it is done, so that the next engine goes
// on where this one ended; what runs belongs to the hand.
//
// States: starting → running → backing_off → running …, and stopped, from which only restart()
// leads. A sandbox that is paused or suspended is left alone: nothing is checked or started in it
// until it is active again, and looking after it does not count as using it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/hand_link.h"
#include "store/database.h"
#include "wire/sandbox.h"

namespace glovebox::engine {

struct Core;

class ManagedProcesses {
 public:
  // The process there is, or was last, and what is kept of it.
  using Entry = std::pair<wire::ProcessInfo, wire::Managed>;

  explicit ManagedProcesses(Core& core);
  ~ManagedProcesses();
  Result<void> open();  // once the boxes were found again

  // `request` is the JSON of POST /processes. Code::conflict with NAME_TAKEN while one of that name
  // is not stopped; a stopped one makes place.
  Task<Entry> start(std::string sandbox, std::string request);
  Task<Entry> restart(std::string sandbox, std::string id);  // also of a stopped one
  Task<void> stop(std::string sandbox, std::string id);      // for good; again is no error
  std::optional<Entry> find(const std::string& sandbox, const std::string& id) const;
  std::optional<Entry> find(const std::string& sandbox, std::uint64_t handle) const;
  std::vector<Entry> list(const std::string& sandbox) const;

  void box_restarted(const std::string& sandbox);  // nothing of before runs any more
  void forget(const std::string& sandbox);         // it has ended

 private:
  struct Kept;
  using KeptPtr = std::shared_ptr<Kept>;
  using Key = std::pair<std::string, std::string>;  // sandbox, id

  KeptPtr get(const std::string& sandbox, const std::string& id) const;
  Result<void> insert(const Kept& kept);
  Result<void> save(const Kept& kept);
  void erase(const std::string& sandbox, const std::string& id);

  // managed_run.cc
  void supervise(const KeptPtr& kept);
  Task<void> run(KeptPtr kept);
  Task<void> regain(KeptPtr kept);
  Task<void> launch(KeptPtr kept);
  Task<wire::ProcessInfo> attempt(KeptPtr kept);
  Task<void> until_end(KeptPtr kept);
  Task<void> wait_for_end(KeptPtr kept);
  Task<void> check_health(KeptPtr kept);
  Task<void> probe(KeptPtr kept);
  Task<void> wait_for_turn(KeptPtr kept);
  Task<void> until_active(KeptPtr kept);
  Task<std::shared_ptr<HandLink>> link(std::string sandbox);
  bool active(const std::string& sandbox) const;
  bool wanted(const KeptPtr& kept) const;

  Core& core_;
  std::map<Key, KeptPtr> kept_;
  std::map<std::string, std::shared_ptr<HandLink>> links_;  // of our own, by sandbox
};

// What happens after an end. Apart, because it is all there is to reason about.
bool restarts_after(const wire::Restart& restart, const wire::ProcessInfo& end, bool unhealthy,
                    std::int64_t restarts_used);
Millis backoff(const wire::Restart& restart, int short_lives);

}  // namespace glovebox::engine
