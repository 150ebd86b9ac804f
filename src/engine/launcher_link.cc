#include "engine/launcher_link.h"

#include <sys/socket.h>

#include "base/log.h"
#include "net/task.h"
#include "sys/packet.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "wire/hand.h"

namespace glovebox::engine {

namespace {

using wire::LauncherType;

constexpr Millis kAnswerLimit =
    30s;  // a launch is a millisecond; a machine that swaps may need seconds

Result<Fd> start_launcher(const LauncherLink::Options& options, const std::string& path) {
  TRY(listener, sys::listen_unix(path, SOCK_SEQPACKET));
  sys::SpawnSpec spec;
  spec.program = options.hand_program;
  spec.args = {"glovebox-launcher", "launcher",        "--socket-fd", "3",
               "--state-dir",       options.state_dir, "--instance",  options.instance};
  spec.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  spec.fds = {{2, 2}, {listener.get(), 3}};
  spec.new_session = true;
  TRY(launcher, sys::spawn(spec), "start the launcher");
  log::info("launcher.started", {{"pid", launcher.pid()}});
  launcher.detach();  // it outlives us
  return sys::connect_unix(path, SOCK_SEQPACKET);
}

}  // namespace

Task<std::unique_ptr<LauncherLink>> LauncherLink::open(net::Loop& loop, Options options,
                                                       OnExit on_exit, OnLost on_lost) {
  std::string path = str(options.state_dir, "/", wire::kLauncherSocket);
  auto socket = sys::connect_unix(path, SOCK_SEQPACKET);
  if (!socket) socket = start_launcher(options, path);
  if (!socket) co_return std::move(socket.error()).with("launcher");
  CO_TRY(watched, net::Descriptor::open(loop.executor(), std::move(*socket)));
  std::unique_ptr<LauncherLink> link(
      new LauncherLink(loop, watched, std::move(on_exit), std::move(on_lost)));
  // A launcher that could not set itself up dies at once: say so here, where somebody looks.
  auto alive = co_await link->list();
  if (!alive)
    co_return std::move(alive.error())
        .with("the launcher did not start; its reason stands in the log");
  co_return link;
}

LauncherLink::LauncherLink(net::Loop& loop, std::shared_ptr<net::Descriptor> socket, OnExit on_exit,
                           OnLost on_lost)
    : socket_(std::move(socket)),
      on_exit_(std::move(on_exit)),
      on_lost_(std::move(on_lost)),
      tasks_(loop) {
  tasks_.spawn("launcher", hear());
}

LauncherLink::~LauncherLink() = default;

Task<void> LauncherLink::hear() {
  for (;;) {
    CO_TRY_DO(
        co_await net::Descriptor::wait(socket_, net::Descriptor::For::reading, net::kForever));
    for (;;) {
      auto packet = sys::receive_packet(socket_->get(), wire::kLauncherMessage, 0);
      if (!packet && packet.error().code == Code::exhausted) break;
      if (packet && packet->bytes.empty())
        packet = Error{Code::unavailable, "the launcher went away"};
      Result<void> taken = packet ? take(packet->bytes) : Result<void>(packet.error());
      if (!taken) {
        lose(taken.error());
        co_return ok;
      }
    }
  }
}

Result<void> LauncherLink::take(std::string_view packet) {
  TRY(message, wire::decode_launcher(packet), "launcher");
  if (message.type == LauncherType::exited) {
    TRY(note, wire::decode_note(message.payload), "launcher");
    on_exit_(note);
    return ok;
  }
  auto found = calls_.find(message.seq);
  if (found == calls_.end()) return ok;  // its caller gave up
  Call& call = *found->second;
  if (message.type == LauncherType::box) {
    TRY(note, wire::decode_note(message.payload), "launcher");
    call.notes.push_back(std::move(note));
    return ok;
  }
  if (message.type == LauncherType::failed) {
    TRY(error, wire::decode_error(message.payload), "launcher");
    call.result = std::move(error);
  } else if (message.type == LauncherType::launched) {
    TRY(pid, wire::Reader(message.payload).u32(), "launcher");
    call.pid = pid;
  }
  call.done = true;
  call.answered.notify();
  calls_.erase(found);
  return ok;
}

void LauncherLink::lose(const Error& why) {
  socket_->close();
  for (auto& [seq, call] : calls_) {
    call->result = Error{Code::unavailable, "the launcher went away"};
    call->done = true;
    call->answered.notify();
  }
  calls_.clear();
  if (!on_lost_) return;  // it was sent away
  log::error("launcher.lost", {{"error", why.what}});
  on_lost_();
}

Task<std::shared_ptr<LauncherLink::Call>> LauncherLink::call(LauncherType type, std::string payload,
                                                             Fd fd, Millis limit) {
  if (!alive()) co_return Error{Code::unavailable, "no launcher"};
  auto seq = next_++;
  auto waiting = std::make_shared<Call>();
  std::vector<int> fds;
  if (fd) fds.push_back(fd.get());
  std::string message = wire::encode(wire::LauncherMessage{type, seq, std::move(payload)});
  // The launcher would see it cut off, and take us for somebody else.
  if (message.size() > wire::kLauncherMessage)
    co_return Error{Code::too_large,
                    str("what the sandbox begins with (environment, paths) is ", message.size(),
                        " bytes; at most ", wire::kLauncherMessage, " are possible")};
  CO_TRY_DO(sys::send_packet(socket_->get(), message, fds, MSG_DONTWAIT), "ask the launcher");
  calls_[seq] = waiting;
  while (!waiting->done) {
    auto answered = co_await waiting->answered.wait(limit);
    if (waiting->done) break;
    if (!answered) {
      calls_.erase(seq);
      co_return std::move(answered.error()).with("the launcher does not answer");
    }
  }
  if (!waiting->result) co_return waiting->result.error();
  co_return waiting;
}

Task<void> LauncherLink::prepare(wire::PrepareBox plan) {
  CO_TRY_DO(co_await call(LauncherType::prepare, wire::encode(plan), Fd(), kAnswerLimit));
  co_return ok;
}

Task<std::uint32_t> LauncherLink::launch(wire::LaunchBox plan, Fd listener) {
  CO_TRY(answer, co_await call(LauncherType::launch, wire::encode(plan), std::move(listener),
                               kAnswerLimit));
  co_return answer->pid;
}

Task<std::vector<wire::BoxNote>> LauncherLink::list() {
  CO_TRY(answer, co_await call(LauncherType::list, {}, Fd(), kAnswerLimit));
  co_return std::move(answer->notes);
}

Task<void> LauncherLink::forget(std::string id) {
  CO_TRY_DO(co_await call(LauncherType::forget, std::move(id), Fd(), kAnswerLimit));
  co_return ok;
}

Task<void> LauncherLink::retire() {
  on_lost_ = nullptr;
  CO_TRY_DO(co_await call(LauncherType::retire, {}, Fd(), kAnswerLimit));
  co_return ok;
}

}  // namespace glovebox::engine
