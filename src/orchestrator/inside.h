// `runner = "inside"`: an item's worker runs in the session's box, as `glovebox worker run` does
// anywhere, against the uplink. Here it is started, kept supplied with its way out, and put away.
//
//   box ─► grant ─► listener in the box ─► worker ─► (renewed until it ends) ─► grant taken back ─►
//   item stopped
//
// The lease is the worker's own; a box that is lost, or ends its own worker, costs its own item.
#pragma once

#include <memory>
#include <optional>

#include "orchestrator/impl.h"

namespace glovebox::orchestrator {

class InsideRun {
 public:
  // `known_box`: where an earlier process had it.
  InsideRun(Impl impl, runner::Work work, std::string known_box);
  ~InsideRun();

  // Code::cancelled leaves all as it is, worker and grant, for the next process.
  Task<runner::ItemEnd> run();
  // Why the session cannot have what it asks for, where run() ended for that: the item is ours
  // then, untouched, and its calls are to be answered with the reason.
  const std::optional<Error>& refusal() const;
  void stop();  // the worker is asked to leave: its running call may finish

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace glovebox::orchestrator
