#include "engine/tool_calls.h"

#include <algorithm>

#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kKept = 16;    // ended calls of a box that can still be asked for
constexpr std::size_t kKnown = 512;  // calls in all
constexpr Millis kStartLimit = std::chrono::seconds(30);

}  // namespace

Task<void> ToolCalls::learn() {
  auto hand = hand_.lock();
  if (!hand) co_return Error{Code::unavailable, "the connection to the sandbox broke"};
  CO_TRY(processes, co_await hand->list());
  if (std::exchange(learned_, true)) co_return ok;  // another did while we waited
  for (const wire::ProcessInfo& info : processes) {
    if (info.kind != wire::Kind::tool || info.argv.size() < 2 || info.argv[1].empty()) continue;
    remember(info.argv[1], info.handle);
    if (info.status != wire::Status::running) ended(info.argv[1]);
  }
  co_return ok;
}

void ToolCalls::remember(const std::string& key, std::uint64_t handle) {
  auto& call = calls_[key];
  if (!call) {
    call = std::make_shared<Call>();
    order_.push_back(key);
  }
  call->handle = handle;
  call->known.notify();
  // Calls whose askers went away and never came back are not seen to end.
  if (order_.size() > kKnown && calls_.at(order_.front())->handle != 0)
    erase(std::string(order_.front()));
}

void ToolCalls::ended(const std::string& key) {
  auto found = calls_.find(key);
  if (found == calls_.end()) return;
  found->second->ended = true;
  let_go_of_old();
}

// The hand keeps the last ended processes of any kind; calls must not push all others out.
void ToolCalls::let_go_of_old() {
  auto is_ended = [&](const std::string& key) { return calls_.at(key)->ended; };
  if (std::ranges::count_if(order_, is_ended) <= static_cast<std::ptrdiff_t>(kKept)) return;
  const std::string oldest = *std::ranges::find_if(order_, is_ended);
  if (auto hand = hand_.lock()) hand->forget_now(calls_.at(oldest)->handle);
  erase(oldest);
}

Task<std::uint64_t> ToolCalls::wait(std::shared_ptr<Call> call) {
  while (call->handle == 0) {
    if (call->error) co_return *call->error;
    CO_TRY_DO(co_await call->known.wait(kStartLimit), "the call is being started");
  }
  co_return call->handle;
}

Task<std::uint64_t> ToolCalls::find_or_start(std::string key, std::function<void()> start) {
  if (!learned_) CO_TRY_DO(co_await learn(), "calls of the sandbox");
  auto& call = calls_[key];
  if (!call) {
    call = std::make_shared<Call>();
    order_.push_back(key);
    start();
  }
  co_return co_await wait(call);
}

Task<std::uint64_t> ToolCalls::find(std::string key) {
  if (!learned_) CO_TRY_DO(co_await learn(), "calls of the sandbox");
  auto found = calls_.find(key);
  if (found == calls_.end()) co_return 0;
  co_return co_await wait(found->second);
}

void ToolCalls::started(const std::string& key, std::uint64_t handle) { remember(key, handle); }

void ToolCalls::failed(const std::string& key, Error error) {
  auto found = calls_.find(key);
  if (found == calls_.end()) return;
  found->second->error = std::move(error);
  found->second->known.notify();
  erase(key);
}

void ToolCalls::forgotten(const std::string& key, std::uint64_t handle) {
  auto found = calls_.find(key);
  if (found != calls_.end() && found->second->handle == handle) erase(key);
}

void ToolCalls::erase(const std::string& key) {
  calls_.erase(key);
  std::erase(order_, key);
}

std::shared_ptr<ToolCalls> ToolCallTable::of(const std::shared_ptr<HandLink>& use) {
  // What was given is one operation's; the calls are the connection's.
  auto hand = use->shared_from_this();
  auto found = tables_.find(hand);
  if (found != tables_.end()) return found->second;
  if (tables_.size() >= sweep_at_) {
    std::erase_if(tables_, [](const auto& entry) { return entry.first.expired(); });
    sweep_at_ = std::max<std::size_t>(64, tables_.size() * 2);
  }
  return tables_.emplace(hand, std::make_shared<ToolCalls>(hand)).first->second;
}

}  // namespace glovebox::engine
