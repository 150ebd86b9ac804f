// Hands that work among the skills and memory stores of their session: both are there before the
// first call, the stores are kept in step while calls run, and everything is put away at the end.
// Where the hands are (a box, this host) is the matter of whoever gives them.
#pragma once

#include <memory>
#include <string>

#include "runner/hands.h"
#include "runner/memory_sync.h"
#include "runner/skills.h"

namespace glovebox::runner {

// The place where the hands work.
struct Equipment {
  std::shared_ptr<Files> files;
  OpenMemoryFolder open_memory;
  std::string work_directory;  // as the tools know it
  Unpack unpack;
  MemoryOptions memory;
};

// Whose session it is. `service` outlives the hands.
struct SessionAccess {
  Service& service;
  Session session;
  Bearer bearer;          // of its item, or the environment's key
  bool is_token = false;  // of its item: memory stores refuse the key
};

class EquippedHands : public Hands {
 public:
  EquippedHands(net::Loop& loop, std::shared_ptr<Hands> hands, SessionAccess access,
                Equipment equipment);
  ~EquippedHands() override;

  bool has(std::string_view tool) const override;
  Task<void> open() override;
  Task<ToolResult> call(ToolCall call) override;
  std::uint64_t place() const override;
  Task<void> close(End how) override;

 private:
  struct State;
  static Task<void> restore(std::shared_ptr<State> state);
  static Task<void> keep(std::shared_ptr<State> state);

  const std::shared_ptr<State> state_;
  net::TaskGroup keeping_;
};

// How service_memories() reaches the service with one item's token.
MemoryTransport memory_transport(Service& service, Bearer token);

}  // namespace glovebox::runner
