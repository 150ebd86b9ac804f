// A descriptor of ours in the event loop. Shared, because who waits on it must find it alive after
// the wait.
#pragma once

#include <memory>

#include "base/fd.h"
#include "net/loop.h"

namespace glovebox::net {

class Descriptor {
 public:
  enum class For { reading, writing };
  static Result<std::shared_ptr<Descriptor>> open(boost::asio::any_io_executor executor, Fd fd);
  ~Descriptor();

  // Code::timeout after `limit`, Code::cancelled after close(). It may wake for nothing: try, and
  // wait again.
  static Task<void> wait(std::shared_ptr<Descriptor> descriptor, For what, Millis limit);
  int get() const;  // -1 once closed
  bool closed() const { return get() < 0; }
  void close();
  // The descriptor as it was given, and this is closed: for handing it to another process. (What is
  // only closed here while it lives on elsewhere would stay in the loop's epoll.)
  Fd release();

 private:
  struct Impl;
  explicit Descriptor(std::unique_ptr<Impl> impl);
  static void arm(std::shared_ptr<Descriptor> descriptor, For what);
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::net
