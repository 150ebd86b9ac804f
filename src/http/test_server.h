// For the tests of this folder: a server on a free port of loopback, and a client that says exactly
// the bytes it is told.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/server.h"
#include "net/task.h"

namespace glovebox::http {

inline Task<std::unique_ptr<net::Stream>> dial(net::Address address) {
  co_return co_await net::connect(address, 5s);
}

// Everything until the server closes.
inline Task<std::string> read_to_end(net::Stream& stream) {
  std::string all;
  for (;;) {
    char buffer[16 * 1024];
    CO_TRY(got, co_await stream.read_some(buffer, 10s), "after ", all);
    if (got == 0) co_return all;
    all.append(buffer, got);
  }
}

// Until `end` has been seen.
inline Task<std::string> read_until(net::Stream& stream, std::string end) {
  std::string all;
  while (!all.contains(end)) {
    char buffer[16 * 1024];
    CO_TRY(got, co_await stream.read_some(buffer, 10s), "waiting for ", end, " after ", all);
    if (got == 0) co_return Error{Code::gone, str("closed before ", end, " after ", all)};
    all.append(buffer, got);
  }
  co_return all;
}

// Sends all of `bytes` and reads until the server closes: the requests must make it close.
inline Task<std::string> say(net::Address address, std::string bytes) {
  CO_TRY(stream, co_await dial(address));
  (void)co_await stream->write_all(bytes,
                                   5s);  // the server may refuse before it has read everything
  co_return co_await read_to_end(*stream);
}

struct TestServer {
  net::Loop loop;
  Server server;
  net::Address address;

  explicit TestServer(std::vector<Route> routes, ServerOptions options = {})
      : server(loop, std::move(routes), std::move(options)) {
    auto bound = server.listen(net::Address{.host = "127.0.0.1"});
    EXPECT_TRUE(bound);
    address = *bound;
  }

  // Runs the test, then drains the server.
  void run(Task<void> test) {
    auto ran = net::run(loop, then_drain(std::move(test)));
    EXPECT_TRUE(ran) << ran.error().what;
    EXPECT_EQ(server.connections(), 0u);
  }
  std::string say(std::string bytes) {
    std::string answer;
    auto ran = net::run(loop, keep(bytes, answer));
    EXPECT_TRUE(ran) << ran.error().what;
    return answer;
  }

 private:
  Task<void> then_drain(Task<void> test) {
    auto tested = co_await std::move(test);
    auto drained = co_await server.drain(5s);
    if (!tested) co_return tested;
    co_return drained;
  }
  Task<void> keep(std::string bytes, std::string& answer) {
    CO_TRY(said, co_await http::say(address, std::move(bytes)));
    answer = std::move(said);
    co_return ok;
  }
};

inline int status(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? parse_int<int>(answer.substr(9, 3)).value_or(-1) : -1;
}
inline std::string body(const std::string& answer) {
  auto end = answer.find("\r\n\r\n");
  return end == answer.npos ? "" : answer.substr(end + 4);
}
inline std::size_t count(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace glovebox::http
