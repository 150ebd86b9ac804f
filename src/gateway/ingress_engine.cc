#include "gateway/ingress_engine.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"
#include "gateway/trusted.h"
#include "net/deadline.h"
#include "net/task.h"
#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::gateway {

using net::Descriptor;

namespace {
constexpr std::size_t kWaiting = 16'384;
constexpr Millis kWriteLimit{10'000};
constexpr int kAgain = 2;  // a question that was under way while the link broke; not the one why
}  // namespace

Result<std::shared_ptr<EngineLink>> EngineLink::open(net::Loop& loop, const std::string& path,
                                                     Hooks hooks) {
  TRY(fd, sys::listen_unix(path, SOCK_SEQPACKET));
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) return sys_error("link of the engine");
  TRY(listener, Descriptor::open(loop.executor(), std::move(fd)));
  std::shared_ptr<EngineLink> link(
      new EngineLink(loop, path, std::move(hooks), std::move(listener)));
  link->tasks_.spawn("ingress.link", link->accept_all());
  return link;
}

EngineLink::EngineLink(net::Loop& loop, std::string path, Hooks hooks,
                       std::shared_ptr<Descriptor> listener)
    : path_(std::move(path)),
      hooks_(std::move(hooks)),
      listener_(std::move(listener)),
      loop_(loop),
      tasks_(loop) {}

EngineLink::~EngineLink() {
  tasks_.cancel();
  ::unlink(path_.c_str());
}

Task<void> EngineLink::close() {
  listener_->close();
  if (line_) lose(line_);
  return tasks_.finish(5s);
}

Task<void> EngineLink::accept_all() {
  for (;;) {
    CO_TRY_DO(co_await Descriptor::wait(listener_, Descriptor::For::reading, net::kForever));
    Fd accepted(::accept4(listener_->get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
      CO_TRY_DO(co_await net::sleep(100ms));
    if (!accepted || !is_trusted(accepted.get())) continue;
    CO_TRY(line, Descriptor::open(loop_.executor(), std::move(accepted)));
    if (line_) lose(line_);  // a new engine: the old one is not there any more
    line_ = line;
    waiting_.clear();
    tasks_.spawn("ingress.engine", hear(line));
    log::info("ingress.linked");
    hooks_.linked();
    comes_.notify();
  }
}

Task<void> EngineLink::hear(std::shared_ptr<Descriptor> line) {
  for (;;) {
    auto came = co_await Descriptor::wait(line, Descriptor::For::reading, net::kForever);
    Result<void> taken = came;
    while (taken) {
      auto packet = sys::receive_packet(line->get(), wire::kIngressMessage, 1);
      if (!packet && packet.error().code == Code::exhausted) break;
      if (packet && packet->bytes.empty()) packet = Error{Code::unavailable, "it went away"};
      taken = packet ? take(packet->bytes, std::move(packet->fds)) : Result<void>(packet.error());
    }
    if (taken) continue;
    if (!line->closed()) log::warn("ingress.engine_lost", {{"why", taken.error().what}});
    lose(line);
    co_return ok;
  }
}

Result<void> EngineLink::take(std::string_view bytes, std::vector<Fd> fds) {
  TRY(say, wire::decode_ingress_say(bytes));
  if (say.number == 0) {
    if (!say.changed.empty())
      hooks_.changed(say.changed);
    else
      hooks_.key_hashes(std::move(say.key_hashes));
    return ok;
  }
  auto found = calls_.find(say.number);
  if (found == calls_.end()) {
    // Nobody would let go of what is held for nobody.
    if (auto hold = given_up_.find(say.number); hold != given_up_.end()) {
      if (!say.error) (void)release(hold->second);
      given_up_.erase(hold);
    }
    return ok;
  }
  Call& call = *found->second;
  call.answer.say = std::move(say);
  if (!fds.empty()) call.answer.fd = std::move(fds[0]);
  call.done = true;
  call.there.notify();
  return ok;
}

void EngineLink::lose(const std::shared_ptr<Descriptor>& line) {
  line->close();
  if (line_ != line) return;
  line_.reset();
  waiting_.clear();
  given_up_.clear();
  for (auto& [number, call] : calls_) {
    call->lost = true;
    call->there.notify();
  }
}

bool EngineLink::send(const wire::IngressAsk& what) {
  if (!line_) return false;
  std::string bytes = wire::encode(what);
  if (waiting_.empty()) {
    auto sent = sys::send_packet(line_->get(), bytes, {}, MSG_DONTWAIT);
    if (sent) return true;
    if (sent.error().code != Code::exhausted) {
      lose(std::shared_ptr(line_));
      return false;
    }
    tasks_.spawn("ingress.flush", flush(line_));
  }
  if (waiting_.size() >= kWaiting) return false;
  waiting_.push_back(std::move(bytes));
  return true;
}

Task<void> EngineLink::flush(std::shared_ptr<Descriptor> line) {
  while (line == line_ && !waiting_.empty()) {
    auto room = co_await Descriptor::wait(line, Descriptor::For::writing, kWriteLimit);
    if (!room) {
      lose(line);
      co_return ok;
    }
    while (line == line_ && !waiting_.empty()) {
      auto sent = sys::send_packet(line->get(), waiting_.front(), {}, MSG_DONTWAIT);
      if (!sent && sent.error().code == Code::exhausted) break;
      if (!sent)
        lose(line);
      else
        waiting_.pop_front();
    }
  }
  co_return ok;
}

bool EngineLink::release(const std::string& box) {
  return send({.what = wire::IngressAsk::What::release, .box = box});
}

Task<EngineLink::Answer> EngineLink::ask(std::shared_ptr<EngineLink> self, wire::IngressAsk what,
                                         Millis absent, Millis limit) {
  const Error nobody{Code::unavailable, "the engine is not there", "ENGINE_UNAVAILABLE"};
  net::Deadline deadline(limit);
  for (int losses = 0;;) {
    net::Deadline patience(std::min(absent, deadline.left()));
    while (!self->line_) {
      auto came = co_await self->comes_.wait(patience.left());
      if (came || self->line_) continue;
      if (came.error().code == Code::timeout) co_return nobody;
      co_return std::move(came.error());
    }
    what.number = ++self->last_;
    if (!self->send(what)) {
      if (!self->line_) continue;
      co_return Error{Code::exhausted, "too much is asked of the engine", "TOO_BUSY"};
    }
    auto call = std::make_shared<Call>();
    self->calls_[what.number] = call;
    Result<void> waited = ok;
    while (waited && !call->done && !call->lost)
      waited = co_await call->there.wait(deadline.left());
    self->calls_.erase(what.number);
    if (call->done) {
      if (call->answer.say.error) co_return std::move(*call->answer.say.error);
      co_return std::move(call->answer);
    }
    if (call->lost && ++losses > kAgain) co_return nobody;
    if (call->lost && deadline.left() > 0ms) continue;
    if (what.what == wire::IngressAsk::What::hold && !call->lost)
      self->given_up_[what.number] = what.box;
    if (!waited && waited.error().code == Code::cancelled) co_return std::move(waited.error());
    co_return Error{Code::timeout, "the engine gives no answer", "ENGINE_TIMEOUT"};
  }
}

}  // namespace glovebox::gateway
