#include "runner/equipped_hands.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "net/task.h"

namespace glovebox::runner {

namespace {

using Steady = std::chrono::steady_clock;

// After the last call jobs in the background may still write. Beyond this nobody is believed to be
// there, and a box may fall asleep: looking into it would wake it.
constexpr Millis kQuiet = 5min;
constexpr Millis kKeeperLimit = 10s;

}  // namespace

MemoryTransport memory_transport(Service& service, Bearer token) {
  return [&service, token = std::move(token)](std::string method, std::string target,
                                              std::string body) {
    return service.call(std::move(method), std::move(target), std::move(body),
                        Service::Family::memory, token);
  };
}

// Shared with the task that keeps the memories in step, which may end after the hands are dropped.
struct EquippedHands::State {
  State(net::Loop& loop, std::shared_ptr<Hands> by, SessionAccess given, Equipment equipment)
      : hands(std::move(by)),
        access(std::move(given)),
        of_session(equipment.memory.of_session),
        skills(service_skills(access.service, access.bearer), std::move(equipment.files),
               std::move(equipment.unpack)),
        memory(loop, system_clock(),
               service_memories(memory_transport(access.service, access.bearer)),
               std::move(equipment.open_memory), std::move(equipment.work_directory),
               equipment.memory) {}
  bool in_use() const { return running > 0 || Steady::now() - last_call < kQuiet; }

  const std::shared_ptr<Hands> hands;
  const SessionAccess access;
  const bool of_session;
  Skills skills;
  MemorySync memory;
  std::vector<ToolRoot> roots;
  std::uint64_t place = 0;  // where skills and memories are
  std::size_t running = 0;
  Steady::time_point last_call = Steady::now();
};

EquippedHands::EquippedHands(net::Loop& loop, std::shared_ptr<Hands> hands, SessionAccess access,
                             Equipment equipment)
    : state_(
          std::make_shared<State>(loop, std::move(hands), std::move(access), std::move(equipment))),
      keeping_(loop) {}
EquippedHands::~EquippedHands() = default;

bool EquippedHands::has(std::string_view tool) const { return state_->hands->has(tool); }

std::uint64_t EquippedHands::place() const { return state_->hands->place(); }

Task<void> EquippedHands::open() {
  const auto state = state_;
  const std::string& session = state->access.session.json;
  if (!state->access.is_token && has_memory(session))
    co_return Error{Code::unauthenticated,
                    "the session has memory stores, and its work item brought no token of its own: "
                    "with an environment's key they cannot be read"};
  CO_TRY_DO(co_await state->hands->open());
  state->place = state->hands->place();
  CO_TRY_DO(co_await state->skills.place(session), "skills");
  CO_TRY_DO(co_await state->memory.download(session));
  const std::vector<std::string> read_only = state->memory.read_only_roots();
  for (const std::string& root : state->memory.roots())
    state->roots.push_back({root, std::ranges::find(read_only, root) != read_only.end()});
  if (!state->roots.empty()) keeping_.spawn("memory.sync", keep(state));
  co_return ok;
}

Task<void> EquippedHands::keep(std::shared_ptr<State> state) {
  std::function<bool()> in_use = [of = state.get()] { return of->in_use(); };
  co_return co_await state->memory.keep_synced(std::move(in_use));
}

// What was put into a place that is lost is put into the one that has replaced it. What had not
// been synced by then is lost with it.
Task<void> EquippedHands::restore(std::shared_ptr<State> state) {
  const std::uint64_t now = state->hands->place();
  if (now == state->place) co_return ok;
  log::info("session.restored", {{"session", state->access.session.id}});
  CO_TRY_DO(co_await state->skills.place(state->access.session.json));
  CO_TRY_DO(co_await state->memory.restore());
  state->place = now;
  co_return ok;
}

Task<ToolResult> EquippedHands::call(ToolCall call) {
  struct Running {
    explicit Running(std::shared_ptr<State> of) : state(std::move(of)) { ++state->running; }
    Running(const Running&) = delete;
    ~Running() {
      --state->running;
      state->last_call = Steady::now();
    }
    const std::shared_ptr<State> state;
  } running(state_);
  CO_TRY_DO(co_await restore(running.state));
  call.roots = running.state->roots;
  co_return co_await running.state->hands->call(std::move(call));
}

Task<void> EquippedHands::close(End how) {
  const auto state = state_;
  auto kept = co_await keeping_.finish(kKeeperLimit);
  if (!kept) log::error("memory.sync_hangs", {{"session", state->access.session.id}});
  if (how != End::lost || !state->of_session)
    CO_TRY_DO(co_await state->skills.remove());  // an error only where we are cut off
  using MemoryEnd = MemorySync::End;
  auto finished = co_await state->memory.finish(how == End::clean  ? MemoryEnd::clean
                                                : how == End::lost ? MemoryEnd::lost
                                                                   : MemoryEnd::aborted);
  if (!finished && finished.error().code == Code::cancelled) co_return finished;
  if (!finished) log::warn("memory.finish", {{"error", finished.error().what}});
  co_return co_await state->hands->close(how);
}

}  // namespace glovebox::runner
