// Server-sent events out of bytes, fed without a socket.
#pragma once

#include <deque>

#include "http/message.h"

namespace glovebox::http {

class SseParser {
 public:
  explicit SseParser(std::size_t limit) : limit_(limit) {}  // of one line and of one event's data
  Result<void> feed(std::string_view bytes);
  std::optional<SseEvent> next();  // events whose empty line has been seen

 private:
  Result<void> take_line(std::string_view line);
  void dispatch();

  std::size_t limit_;
  std::string line_;       // not yet ended
  bool after_cr_ = false;  // a LF now belongs to the CR before it
  bool at_start_ = true;   // a byte order mark may stand here
  SseEvent event_;
  bool has_data_ = false;
  std::string last_id_;
  std::deque<SseEvent> ready_;
};

}  // namespace glovebox::http
