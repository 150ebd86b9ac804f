#include <fcntl.h>
#include <netdb.h>
#include <sys/stat.h>

#include <boost/asio/this_coro.hpp>
#include <cerrno>

#include "base/log.h"
#include "net/socket.h"
#include "net/task.h"

namespace glovebox::net {

struct Listener::Impl {
  std::shared_ptr<Descriptor> socket;
  Address address;
  std::string made_path;  // of a Unix socket that is ours to remove

  ~Impl() { close(); }
  void close() {
    socket->close();
    if (!made_path.empty()) ::unlink(made_path.c_str());
    made_path.clear();
  }
};

namespace {

constexpr int kBacklog = 1024;

// A crash leaves the socket file behind. It may go if it is a socket and nobody answers.
bool remove_stale(const std::string& path, const SockAddr& address) {
  struct stat file;
  if (::lstat(path.c_str(), &file) < 0 || !S_ISSOCK(file.st_mode)) return false;
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), address.get(), address.size) == 0 || errno != ECONNREFUSED)
    return false;
  return ::unlink(path.c_str()) == 0;
}

Result<Fd> listen_unix(const std::string& path) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return sys_error("socket");
  SockAddr address = unix_address(path);
  int bound = ::bind(fd.get(), address.get(), address.size);
  if (bound < 0 && errno == EADDRINUSE && remove_stale(path, address))
    bound = ::bind(fd.get(), address.get(), address.size);
  if (bound < 0) return sys_error(str("bind unix:", path));
  if (::listen(fd.get(), kBacklog) < 0) return sys_error(str("listen on unix:", path));
  return fd;
}

Result<Fd> listen_tcp(const Address& wanted) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int failed =
      ::getaddrinfo(wanted.host.c_str(), std::to_string(wanted.port).c_str(), &hints, &found);
  if (failed)
    return Error{Code::invalid, str("listen on ", wanted.text(), ": ", ::gai_strerror(failed))};
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);

  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return sys_error("socket");
  int on = 1;  // connections of a predecessor in TIME_WAIT are no reason to refuse
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) < 0)
    return sys_error(str("bind ", wanted.text()));
  if (::listen(fd.get(), kBacklog) < 0) return sys_error(str("listen on ", wanted.text()));
  return fd;
}

}  // namespace

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;
Listener::~Listener() = default;

Result<Fd> Listener::bind(const Address& address) {
  return address.unix_path.empty() ? listen_tcp(address) : listen_unix(address.unix_path);
}

Result<Listener> Listener::open(Loop& loop, const Address& address) {
  TRY(fd, bind(address));
  TRY(listener, adopt(loop, std::move(fd)));
  listener.impl_->made_path = address.unix_path;
  return listener;
}

Result<Listener> Listener::adopt(Loop& loop, Fd fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
    return sys_error("adopt a listener");
  if (!listening) return Error{Code::invalid, "the inherited socket does not listen"};
  // Whoever made it may not have: accept() in our loop must never block.
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) < 0) return sys_error("adopt a listener");
  SockAddr own;
  if (::getsockname(fd.get(), own.get(), &own.size) < 0) return sys_error("getsockname");
  auto impl = std::make_unique<Impl>();
  impl->address = to_address(own);
  TRY(socket, Descriptor::open(loop.executor(), std::move(fd)));
  impl->socket = std::move(socket);
  return Listener(std::move(impl));
}

const Address& Listener::address() const { return impl_->address; }
void Listener::close() { impl_->close(); }

Task<std::unique_ptr<Stream>> Listener::accept() {
  auto socket = impl_->socket;  // the Listener may go while we wait
  auto executor = co_await boost::asio::this_coro::executor;
  for (;;) {
    if (socket->closed()) co_return Error{Code::cancelled, "closed"};
    Fd fd(::accept4(socket->get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      auto stream = make_stream(executor, std::move(fd));
      if (stream) co_return stream;
      continue;  // gone again already
    }
    switch (errno) {
      case EAGAIN:
        CO_TRY_DO(co_await Descriptor::wait(socket, Descriptor::For::reading, kForever));
        break;
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        // The connection stays in the backlog; when something else ends there is room again.
        log::warn("net.accept_full", {{"error", errno_name(errno)}});
        CO_TRY_DO(co_await sleep(100ms));
        break;
      case EBADF:
      case EINVAL:
      case ENOTSOCK: co_return sys_error("accept");
      default:
        CO_TRY_DO(co_await yield());  // errors of the one connection (ECONNABORTED, network errors)
    }
  }
}

}  // namespace glovebox::net
