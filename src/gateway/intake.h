// Where the engine hands descriptors over: a SEQPACKET socket in the part's own directory. One
// connection is one packet there (a line, and descriptors beside it) and one back: "ok", or a word
// for the kind of error and its text. engine/handover.h is the other side.
//
// Only root is listened to; who that is the kernel says.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/loop.h"

namespace glovebox::gateway {

class Intake {
 public:
  using Take = std::function<Result<void>(const std::string& line, std::vector<Fd> fds)>;
  static Result<std::unique_ptr<Intake>> open(net::Loop& loop, const std::string& path, Take take);
  ~Intake();  // the socket's file goes, too

  struct Impl;

 private:
  explicit Intake(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace glovebox::gateway
