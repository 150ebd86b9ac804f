#include "hand/poll.h"

#include <sys/epoll.h>

#include <algorithm>

namespace glovebox::hand {

Result<Poll> Poll::make() {
  Poll poll;
  poll.epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!poll.epoll_) return sys_error("epoll_create1");
  return poll;
}

std::span<const Poll::Event> Poll::wait(Millis limit) {
  epoll_event ready[kBatch];
  int timeout = static_cast<int>(std::clamp<std::int64_t>(limit.count(), 0, 3'600'000));
  int n = ::epoll_wait(epoll_.get(), ready, kBatch, timeout);
  for (int i = 0; i < n; ++i) {
    std::uint64_t token = ready[i].data.u64;
    events_[i] = {static_cast<Source>(token >> 56), token & ((1ull << 56) - 1), ready[i].events};
  }
  return {events_, static_cast<std::size_t>(std::max(n, 0))};
}

Watched::Watched(Watched&& other) noexcept
    : epoll_(other.epoll_),
      fd_(std::move(other.fd_)),
      token_(other.token_),
      wanted_(std::exchange(other.wanted_, 0)) {}

Watched& Watched::operator=(Watched&& other) noexcept {
  if (this == &other) return *this;
  reset();
  epoll_ = other.epoll_;
  fd_ = std::move(other.fd_);
  token_ = other.token_;
  wanted_ = std::exchange(other.wanted_, 0);
  return *this;
}

void Watched::want(std::uint32_t events) {
  if (!fd_ || events == wanted_) return;
  epoll_event event{.events = events, .data = {.u64 = token_}};
  int operation = !events ? EPOLL_CTL_DEL : !wanted_ ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  // It cannot fail for a descriptor that can be waited for, and only such ones are ours; without
  // memory for the entry the stream stands still, and the process that has it ends by its limits.
  if (::epoll_ctl(epoll_, operation, fd_.get(), &event) == 0) wanted_ = events;
}

void Watched::rename(Source source, std::uint64_t id) {
  token_ = token(source, id);
  if (wanted_) want(std::exchange(wanted_, kStale));
}

void Watched::reset() {
  want(0);
  wanted_ = 0;
  fd_.reset();
}

}  // namespace glovebox::hand
