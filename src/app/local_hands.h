// Hands beside the worker: a glovebox-hand as a child process, in a work directory of this host.
// One for each session, and so one shell. It dies with us, and everything it runs with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/hand_link.h"
#include "runner/hands.h"
#include "sys/process.h"
#include "sys/text.h"

namespace glovebox::app {

struct LocalHandOptions {
  std::string program;  // glovebox-hand
  std::string workdir;
  std::vector<std::string> env;  // "K=V": what tools see
  // Calls that run now, of all hands of this process.
  std::shared_ptr<std::size_t> running = std::make_shared<std::size_t>(0);
};

class LocalHands : public runner::Hands {
 public:
  LocalHands(net::Loop& loop, LocalHandOptions options)
      : loop_(loop), options_(std::move(options)) {}
  ~LocalHands() override;  // without close(): the hand is told to end, and nobody waits for it
  bool has(std::string_view tool) const override;
  Task<void> open() override;
  // A call that was under way when the hand died is answered with that: what it did is not known,
  // and it is not done twice. The next one has a new hand.
  Task<runner::ToolResult> call(runner::ToolCall call) override;
  Task<void> close(End how) override;

 private:
  Task<void> start();
  Task<void> end(Millis grace);

  net::Loop& loop_;
  const LocalHandOptions options_;
  std::optional<sys::Process> hand_;
  std::shared_ptr<engine::HandLink> link_;
  bool last_was_short_ = false;  // the last call; the next may be, too
  sys::Settling settling_;
};

// Ours without any ANTHROPIC_… in whatever case: tools run what a model wrote.
std::vector<std::string> environment_for_tools(const cli::Environment& own);
// The directory's real path; an error says why no session could work there.
Result<std::string> usable_workdir(const std::string& path);

}  // namespace glovebox::app
