// The streamed answer of a Messages API, put together piece by piece. No network here: bytes are
// somebody else's business, and a fuzzer can say anything.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "brain/model.h"

namespace glovebox::brain {

// Stands in for the input of a call that is not a JSON object (it may have been cut off): the one
// member holds the text that came instead.
constexpr std::string_view kInvalidJson = "INVALID_JSON";

class MessagesStream {
 public:
  explicit MessagesStream(ModelListener listener);
  ~MessagesStream();

  // One event of the stream. An error is the end of it: malformed, or one that the stream itself
  // told (`error` events, tag and code as Model::ask gives them).
  Result<void> feed(std::string_view name, std::string_view data);
  // A whole message at once, from an API that does not stream.
  Result<void> feed_message(std::string_view json);
  bool done() const;   // message_stop was seen
  ModelReply reply();  // once done

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What an error of the API means for us, by its own type and status (0: none, it came in a stream).
Error model_error(int status, std::string_view type, std::string message);
// It may be gone the next time.
bool may_pass(const Error& error);

}  // namespace glovebox::brain
