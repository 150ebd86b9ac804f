#include "hand/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

namespace glovebox::hand {
namespace {

constexpr std::size_t kReadAtOnce = 64 * 1024;
constexpr std::size_t kKeepQueue = 16 * 1024;
constexpr auto kFinishLimit = 1s;

}  // namespace

Connection::Connection(Poll& poll, Fd socket, std::uint64_t id)
    : socket_(poll, std::move(socket), Source::connection, id), id_(id) {
  socket_.want(EPOLLIN);
}

bool Connection::read() {
  char bytes[kReadAtOnce];
  ssize_t n = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n > 0) frames_.feed({bytes, static_cast<std::size_t>(n)});
  return n > 0;
}

void Connection::send(wire::Type type, std::uint32_t request, std::string_view payload) {
  if (lost_) return;
  out_ += wire::encode_frame(type, request, payload);
  if (queued() > kOutputQueue + kAnswerQueue) lost_ = true;
}

void Connection::send(std::uint32_t request, const Error& error) {
  send(wire::Type::error, request, wire::encode_error(error));
}

void Connection::finish() {
  if (std::exchange(finishing_, true)) return;
  patience = std::chrono::steady_clock::now() + kFinishLimit;
}

void Connection::flush() {
  while (!lost_ && queued() > 0) {
    ssize_t n = ::send(socket_.get(), out_.data() + sent_, queued(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) lost_ = true;
    if (n < 0) break;
    sent_ += static_cast<std::size_t>(n);
  }
  if (sent_ > kReadAtOnce || queued() == 0) {
    out_.erase(0, sent_);
    sent_ = 0;
    if (out_.empty() && out_.capacity() > kKeepQueue) std::string().swap(out_);
  }
  socket_.want((finishing_ ? 0u : EPOLLIN) | (queued() > 0 ? EPOLLOUT : 0u));
}

}  // namespace glovebox::hand
