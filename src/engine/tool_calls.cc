#include "engine/tool_calls.h"

#include <algorithm>

#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kKept = 16;  // ended calls of a box that can still be asked for
constexpr Millis kStartLimit = std::chrono::seconds(30);

}  // namespace

Task<void> ToolCalls::learn() {
  auto hand = hand_.lock();
  if (!hand) co_return Error{Code::unavailable, "the connection to the sandbox broke"};
  CO_TRY(processes, co_await hand->list());
  if (std::exchange(learned_, true)) co_return ok;  // another did while we waited
  for (const wire::ProcessInfo& info : processes)
    if (info.kind == wire::Kind::tool && info.argv.size() == 2) remember(info.argv[1], info.handle);
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
  // The hand keeps the last ended processes of any kind; calls must not push all others out.
  while (order_.size() > kKept) {
    auto oldest = calls_.find(order_.front());
    if (oldest->second->handle == 0) break;
    if (auto hand = hand_.lock()) hand->forget_now(oldest->second->handle);
    calls_.erase(oldest);
    order_.pop_front();
  }
}

Task<std::uint64_t> ToolCalls::look_up(std::string key, bool claim) {
  if (!learned_) CO_TRY_DO(co_await learn(), "calls of the sandbox");
  for (;;) {
    auto found = calls_.find(key);
    if (found == calls_.end()) {
      if (claim) {
        calls_[key] = std::make_shared<Call>();
        order_.push_back(key);
      }
      co_return 0;
    }
    if (found->second->handle != 0) co_return found->second->handle;
    auto call = found->second;
    CO_TRY_DO(co_await call->known.wait(kStartLimit), "the same call is being started");
  }
}

Task<std::uint64_t> ToolCalls::find_or_claim(std::string key) {
  return look_up(std::move(key), true);
}
Task<std::uint64_t> ToolCalls::find(std::string key) { return look_up(std::move(key), false); }

void ToolCalls::started(const std::string& key, std::uint64_t handle) { remember(key, handle); }

void ToolCalls::failed(const std::string& key) {
  auto found = calls_.find(key);
  if (found == calls_.end()) return;
  auto call = found->second;
  calls_.erase(found);
  std::erase(order_, key);
  call->known.notify();  // whoever waited starts it anew
}

std::shared_ptr<ToolCalls> ToolCallTable::of(const std::shared_ptr<HandLink>& hand) {
  auto found = tables_.find(hand);
  if (found != tables_.end()) return found->second;
  if (tables_.size() >= sweep_at_) {
    std::erase_if(tables_, [](const auto& entry) { return entry.first.expired(); });
    sweep_at_ = std::max<std::size_t>(64, tables_.size() * 2);
  }
  return tables_.emplace(hand, std::make_shared<ToolCalls>(hand)).first->second;
}

}  // namespace glovebox::engine
