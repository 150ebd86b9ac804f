#include "hand/nursery.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "sys/packet.h"
#include "wire/bytes.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kAskedAtOnce = 8;
constexpr auto kAnswerLimit = 5s;  // of a helper; one that was stopped from inside is replaced
constexpr int kManyFailures = 5;
constexpr auto kPause = 100ms;  // after the box had no room for another process

}  // namespace

void Nursery::want(std::size_t waiting, Time now) {
  wanted_ = waiting;
  fill(now);
}

std::optional<Blank> Nursery::take() {
  if (ready_.empty()) return std::nullopt;
  Blank blank = std::move(ready_.front());
  ready_.pop_front();
  if (wanted_ > 0) --wanted_;
  return blank;
}

void Nursery::fill(Time now) {
  if (closed_ || now < not_before_) return;
  while (ready_.size() + asked_.size() < wanted_ + 1 && asked_.size() < kAskedAtOnce) {
    auto made = helper_ ? ask(now) : start_helper();
    if (made) continue;
    // The helper has just died, and we are the first to notice.
    if (made.error().code == Code::unavailable) return lose_helper(now);
    if (wanted_ > 0) failure_ = std::move(made.error());
    not_before_ = now + kPause;
    return;
  }
}

Result<void> Nursery::ask(Time now) {
  TRY(blank, ask_for_blank(config_, helper_.get(), next_id_));
  note(next_id_++, std::move(blank), now);
  return ok;
}

void Nursery::note(std::uint64_t id, AskedBlank blank, Time now) {
  asked_.emplace(id, Asked{std::move(blank.group),
                           Watched(poll_, std::move(blank.socket), Source::blank, id), now});
}

Result<void> Nursery::start_helper() {
  TRY(helper, fork_helper(config_));
  adopt(std::move(helper), {});
  return ok;
}

void Nursery::adopt(Helper helper, Time now) {
  helper_group_ = std::move(helper.group);
  helper_pid_ = helper.pid;
  helper_ = Watched(poll_, std::move(helper.socket), Source::helper, 0);
  helper_.want(EPOLLIN);
  if (!helper.first) return;
  note(kFirstBlank, std::move(*helper.first), now);
  next_id_ = kFirstBlank + 1;
}

void Nursery::on_helper(Time now) {
  while (helper_) {
    auto packet = sys::receive_packet(helper_.get(), kHelperMessage, 0);
    if (!packet && packet.error().code == Code::exhausted) return;
    if (!packet || packet->bytes.empty()) return lose_helper(now);
    wire::Reader in(packet->bytes);
    auto id = in.u64();
    auto pid = in.i64();
    auto asked = id && pid && in.done() ? asked_.find(*id) : asked_.end();
    if (asked == asked_.end()) return lose_helper(now);
    Asked born = std::move(asked->second);
    asked_.erase(asked);
    if (*pid <= 0) {
      Error error = sys_error("fork in the sandbox",
                              static_cast<int>(std::clamp<std::int64_t>(-*pid, 1, 4095)));
      error.code = Code::exhausted;
      error.tag = "PROCESS_LIMIT";
      if (wanted_ > 0) failure_ = std::move(error);
      not_before_ = now + kPause;
      (void)born.group.remove_if_empty();
      continue;
    }
    auto child = static_cast<pid_t>(*pid);
    // Not our child: it has ended and was reaped, or the helper lies. Nothing comes of it either
    // way.
    siginfo_t ended{};
    if (child != *pid || in_use_(child) || is_ready(child) ||
        ::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT) < 0) {
      bury(std::move(born.group));
      back_off(now);
      continue;
    }
    failures_ = 0;
    born.group.set_leader(child);
    born.socket.want(EPOLLIN);
    ready_.push_back({*id, child, std::move(born.group), std::move(born.socket)});
  }
}

void Nursery::on_blank(std::uint64_t id, Time now) {
  // A blank says nothing before it is spoken to: it has ended.
  for (std::size_t i = 0; i < ready_.size(); ++i)
    if (ready_[i].id == id) return lose_blank(i, now);
}

void Nursery::lose_blank(std::size_t index, Time now) {
  Blank blank = std::move(ready_[index]);
  ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(index));
  bury(std::move(blank.group));
  back_off(now);
}

// Once is an accident. Whoever kills helpers and blanks as fast as they come waits longer and
// longer for the next.
void Nursery::back_off(Time now) {
  ++failures_;
  not_before_ =
      now + (failures_ == 1 ? 0ms : std::min(1000ms, Millis(5 << std::min(failures_, 8))));
  if (failures_ >= kManyFailures && wanted_ > 0)
    failure_ = Error{Code::unavailable, "the sandbox cannot start processes now; try again"};
}

bool Nursery::is_ready(pid_t pid) const {
  return std::ranges::any_of(ready_, [&](const Blank& blank) { return blank.pid == pid; });
}

void Nursery::lose_helper(Time now) {
  if (helper_pid_ > 0) ::kill(helper_pid_, SIGKILL);
  helper_pid_ = 0;  // it is reaped as nobody's
  helper_.reset();
  for (auto& [id, asked] : asked_) bury(std::move(asked.group));
  asked_.clear();
  if (!closed_) back_off(now);
}

bool Nursery::reaped(pid_t pid, Time now) {
  if (pid == helper_pid_) {
    helper_pid_ = 0;
    lose_helper(now);
    return true;
  }
  for (std::size_t i = 0; i < ready_.size(); ++i)
    if (ready_[i].pid == pid) {
      lose_blank(i, now);
      return true;
    }
  return false;
}

void Nursery::bury(Group group) {
  group.kill();
  if (!group.remove_if_empty()) graves_.push_back(std::move(group));
}

void Nursery::sweep() {
  std::erase_if(graves_, [](Group& group) { return group.remove_if_empty(); });
}

void Nursery::tick(Time now) {
  if (!asked_.empty() && now >= asked_.begin()->second.since + kAnswerLimit) {
    log::warn("hand.helper_stuck");
    lose_helper(now);
  }
  fill(now);
}

Time Nursery::deadline() const {
  if (closed_) return Time::max();
  if (!asked_.empty()) return asked_.begin()->second.since + kAnswerLimit;
  return ready_.size() < wanted_ + 1 ? not_before_ : Time::max();
}

void Nursery::close() {
  closed_ = true;
  lose_helper({});
  helper_group_.kill();
  while (!ready_.empty()) {
    bury(std::move(ready_.front().group));
    ready_.pop_front();
  }
}

}  // namespace glovebox::hand
