// A net::Stream in the shape Beast's WebSocket asks for (AsyncReadStream and AsyncWriteStream). For
// .cc files only.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include "net/stream.h"
#include "net/task.h"

namespace glovebox::http {

class StreamAdapter {
 public:
  using executor_type = boost::asio::any_io_executor;

  StreamAdapter(executor_type executor, std::shared_ptr<net::Stream> stream, std::string early)
      : executor_(std::move(executor)), stream_(std::move(stream)), early_(std::move(early)) {}
  executor_type get_executor() const { return executor_; }
  net::Stream& stream() { return *stream_; }
  void set_write_limit(Millis limit) { write_limit_ = limit; }

  template <class Buffers, class Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    return boost::asio::async_initiate<Handler, void(boost::system::error_code, std::size_t)>(
        [this](auto done, Buffers buffers) {
          std::span<char> into = first<std::span<char>>(buffers);
          if (!early_.empty()) {  // came behind the handshake
            std::size_t n = early_.copy(into.data(), into.size());
            early_.erase(0, n);
            return boost::asio::post(
                executor_, [done = std::move(done), n]() mutable { std::move(done)(Error(), n); });
          }
          run(read(stream_, into), std::move(done));
        },
        handler, buffers);
  }

  template <class Buffers, class Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    return boost::asio::async_initiate<Handler, void(boost::system::error_code, std::size_t)>(
        [this](auto done, Buffers buffers) {
          // Gathered into one write: Beast gives a frame's head and its payload as two buffers.
          std::string bytes(boost::asio::buffer_size(buffers), '\0');
          boost::asio::buffer_copy(boost::asio::buffer(bytes), buffers);
          run(write(stream_, std::move(bytes), write_limit_), std::move(done));
        },
        handler, buffers);
  }

 private:
  using Error = boost::system::error_code;

  template <class Span, class Buffers>
  static Span first(const Buffers& buffers) {
    for (auto it = boost::asio::buffer_sequence_begin(buffers);
         it != boost::asio::buffer_sequence_end(buffers); ++it) {
      boost::asio::mutable_buffer buffer(*it);
      if (buffer.size() > 0) return {static_cast<char*>(buffer.data()), buffer.size()};
    }
    return {};
  }

  static Task<std::size_t> read(std::shared_ptr<net::Stream> stream, std::span<char> into) {
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    // Without a limit of its own: the keep-alive pings decide when the other side has been silent
    // too long.
    co_return co_await stream->read_some(into, net::kForever);
  }
  static Task<std::size_t> write(std::shared_ptr<net::Stream> stream, std::string bytes,
                                 Millis limit) {
    co_await boost::asio::this_coro::throw_if_cancelled(false);
    CO_TRY_DO(co_await stream->write_all(bytes, limit));
    co_return bytes.size();
  }

  template <class Done>
  void run(Task<std::size_t> task, Done done) {
    boost::asio::co_spawn(
        executor_, std::move(task),
        [done = std::move(done)](std::exception_ptr, Result<std::size_t> moved) mutable {
          Error error;
          if (!moved)
            error = boost::asio::error::connection_reset;
          else if (*moved == 0)
            error = boost::asio::error::eof;
          std::move(done)(error, moved.value_or(0));
        });
  }

  executor_type executor_;
  std::shared_ptr<net::Stream> stream_;
  std::string early_;
  Millis write_limit_{60'000};
};

// What Beast calls (found by argument-dependent lookup) when a connection is to end.
inline void beast_close_socket(StreamAdapter& adapter) { adapter.stream().close(); }
inline void teardown(boost::beast::role_type, StreamAdapter& adapter,
                     boost::system::error_code& error) {
  adapter.stream().close();
  error = {};
}
template <class Handler>
void async_teardown(boost::beast::role_type, StreamAdapter& adapter, Handler&& handler) {
  adapter.stream().shutdown_write();
  boost::asio::post(adapter.get_executor(), [handler = std::forward<Handler>(handler)]() mutable {
    std::move(handler)(boost::system::error_code{});
  });
}

}  // namespace glovebox::http
