#include "net/loop.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "net/task.h"

namespace asio = boost::asio;

namespace glovebox::net {

struct Loop::Impl {
  asio::io_context io{1};  // one thread runs it; others may post
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

void Loop::run() {
  impl_->io.restart();
  for (;;) {
    try {
      impl_->io.run();
      return;
    } catch (const std::exception& e) {
      // Posted work must not throw; if it does the other tasks go on.
      log::error("loop.exception", {{"what", e.what()}});
    }
  }
}

void Loop::stop() { impl_->io.stop(); }

void Loop::post(std::function<void()> work) { asio::post(impl_->io, std::move(work)); }

asio::any_io_executor Loop::executor() { return impl_->io.get_executor(); }

Task<void> yield() {
  co_await asio::post(asio::use_awaitable);
  co_return ok;
}

}  // namespace glovebox::net
