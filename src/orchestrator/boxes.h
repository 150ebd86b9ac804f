// Boxes for sessions: found by name or made, waited for until they are stable, made anew when they
// are lost. And the hands that are one such box.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "net/loop.h"
#include "orchestrator/engine_api.h"
#include "runner/equipped_hands.h"
#include "wire/session_sources.h"

namespace glovebox::orchestrator {

struct BoxOptions {
  std::string image;
  std::int64_t timeout_secs = 3600;
  bool resume_suspended = false;  // else a suspended one is replaced by a clean one
  Millis patience{60'000};        // with an engine that is away or full, or a box on its way
  Millis first_retry{50}, longest_retry{2'000};
  std::string also_trust = {};  // certificates besides the system's: see net::TlsClient
};

// What a session wants its box to be; what is empty is as the options say. It counts when a box is
// made: one that is there stays as it is.
struct BoxWish {
  std::string image = {}, snapshot = {}, isolation = {};
  std::vector<BoxVolume> volumes = {};
  bool internet = false;
  bool ephemeral = false;             // a clean box for every burst
  wire::SessionSources sources = {};  // what is to be in it from the start: session_files.h
};

// What is to be done with a box before its session's first call in it; again with each box that the
// session gets. Empty: nothing.
using Preparation = std::function<Task<void>(std::string box)>;

class Boxes {
 public:
  Boxes(net::Loop& loop, http::Url engine, std::shared_ptr<const Secret> key, BoxOptions options);
  ~Boxes();

  // A running box of that name. `in_use`: it has been ours just now, so a suspended one is woken
  // whatever the options say.
  enum class For { new_burst, in_use };
  Task<Box> get(std::string name, For what, BoxWish wish = {});

  // Boxes that differ in nothing but their volumes from what the options say are claimed from this
  // pool of the engine's, whose boxes are that; "": from none.
  void use_pool(std::string pool);
  std::uint64_t taken() const;  // such boxes that were wanted so far

  EngineApi& api();
  Task<runner::ToolResult> call(std::string box, runner::ToolCall call);
  // Ends a call that nobody waits for any more, in the background; unless calls are to be left.
  void end_call(std::string box, std::string call);
  // From now on a cancelled call goes on: the next process asks for its result.
  void leave_calls();

  const BoxOptions& options() const;
  Task<void> close(Millis limit);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

// The hands of one session.
class BoxHands : public runner::Hands {
 public:
  // `known` is the box an earlier process used for this session, if there was one: where it is not
  // there any more the first call says so. `on_box` is told which box it is, each time.
  BoxHands(std::shared_ptr<Boxes> boxes, std::string name, std::string known,
           std::function<void(std::string)> on_box, BoxWish wish = {}, Preparation prepare = {})
      : boxes_(std::move(boxes)),
        name_(std::move(name)),
        known_(std::move(known)),
        on_box_(std::move(on_box)),
        wish_(std::move(wish)),
        prepare_(std::move(prepare)) {}

  bool has(std::string_view tool) const override;
  Task<void> open() override;
  Task<runner::ToolResult> call(runner::ToolCall call) override;
  std::uint64_t place() const override { return generation_; }
  Task<void> close(End how) override;  // the box stays, if it is to: it goes to sleep by itself

  const std::string& box() const { return box_; }  // now

 private:
  Task<runner::ToolResult> carry_out(runner::ToolCall call);
  Task<void> renew();

  std::shared_ptr<Boxes> boxes_;
  const std::string name_, known_;
  const std::function<void(std::string)> on_box_;
  const BoxWish wish_;
  const Preparation prepare_;
  std::string box_;
  std::uint64_t generation_ = 0;
  bool lost_ = false;  // and nobody has been told
};

// The same among the session's skills and memories, which are in the box and kept from here: what
// was written is at the service though the box be killed. `unpack` is the path of glovebox-unpack.
std::shared_ptr<runner::Hands> equipped_box(net::Loop& loop, std::shared_ptr<Boxes> boxes,
                                            std::shared_ptr<BoxHands> hands,
                                            runner::SessionAccess access, std::string unpack);

}  // namespace glovebox::orchestrator
