#include "gateway/intake.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "gateway/trusted.h"
#include "net/descriptor.h"
#include "net/task.h"
#include "sys/packet.h"
#include "sys/unix_socket.h"

namespace glovebox::gateway {

namespace {

constexpr std::size_t kLine = 1024, kDescriptors = 4;
constexpr std::size_t kAtOnce = 64;
constexpr Millis kPatience{5'000};  // with one who connected and says nothing

}  // namespace

struct Intake::Impl {
  net::Loop& loop;
  std::string path;
  std::shared_ptr<net::Descriptor> listener;
  Take take;
  net::TaskGroup tasks;
};

namespace {

Task<void> serve(Intake::Take take, std::shared_ptr<net::Descriptor> socket) {
  auto came = co_await net::Descriptor::wait(socket, net::Descriptor::For::reading, kPatience);
  if (!came) co_return ok;
  auto packet = sys::receive_packet(socket->get(), kLine, kDescriptors);
  if (!packet || packet->bytes.empty()) co_return ok;
  auto taken = take(packet->bytes, std::move(packet->fds));
  std::string answer =
      taken ? std::string("ok") : str(name(taken.error().code), ' ', taken.error().what);
  (void)sys::send_packet(socket->get(), answer.substr(0, kLine), {}, MSG_DONTWAIT);
  co_return ok;
}

Task<void> accept_all(std::shared_ptr<Intake::Impl> intake) {
  for (;;) {
    CO_TRY_DO(co_await net::Descriptor::wait(intake->listener, net::Descriptor::For::reading,
                                             net::kForever));
    Fd accepted(::accept4(intake->listener->get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!accepted && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
      CO_TRY_DO(co_await net::sleep(100ms));
    if (!accepted || !is_trusted(accepted.get()) || intake->tasks.size() > kAtOnce) continue;
    auto socket = net::Descriptor::open(intake->loop.executor(), std::move(accepted));
    if (socket) intake->tasks.spawn("intake", serve(intake->take, std::move(*socket)));
  }
}

}  // namespace

Result<std::unique_ptr<Intake>> Intake::open(net::Loop& loop, const std::string& path, Take take) {
  TRY(fd, sys::listen_unix(path, SOCK_SEQPACKET));
  // One who connects and goes again must not leave us waiting in accept().
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) return sys_error("intake");
  TRY(listener, net::Descriptor::open(loop.executor(), std::move(fd)));
  std::shared_ptr<Impl> impl(
      new Impl{loop, path, std::move(listener), std::move(take), net::TaskGroup(loop)});
  impl->tasks.spawn("intake", accept_all(impl));
  return std::unique_ptr<Intake>(new Intake(std::move(impl)));
}

Intake::Intake(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Intake::~Intake() {
  impl_->listener->close();
  impl_->tasks.cancel();
  ::unlink(impl_->path.c_str());
}

}  // namespace glovebox::gateway
