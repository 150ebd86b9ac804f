// Plain HTTP messages: what crosses the border of `http`. No Beast here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/task_fwd.h"

namespace glovebox::http {

class Headers {  // names compare without case; order and repetition are kept
 public:
  void set(std::string_view name, std::string value);  // replaces all of that name
  void add(std::string_view name, std::string value);
  std::optional<std::string_view> get(std::string_view name) const;  // the first
  void remove(std::string_view name);
  const std::vector<std::pair<std::string, std::string>>& all() const { return all_; }

 private:
  std::vector<std::pair<std::string, std::string>> all_;
};

class BodyReader {  // a request or response body as it arrives
 public:
  virtual ~BodyReader() = default;
  virtual Task<std::string> read() = 0;  // the next piece (at most 64 KiB); empty at the end
};

class BodyWriter {  // a response body as it is made; each write is one flush, bounded by the slow
                    // reader's deadline
 public:
  virtual ~BodyWriter() = default;
  virtual Task<void> write(std::string bytes) = 0;
  virtual bool closed() const = 0;  // the client has gone
};

struct SseEvent {
  std::string event;  // may be empty
  std::string data;   // may hold newlines: they become several data: lines
  std::string id;
};
std::string encode(const SseEvent& event);

class WebSocket {
 public:
  enum class Kind { text, binary };
  struct Message {
    Kind kind = Kind::binary;
    std::string data;
  };
  virtual ~WebSocket() = default;
  virtual Task<Message>
  read() = 0;  // Code::gone when the other side closed; pings are answered inside
  virtual Task<void> write(Kind kind, std::string data) = 0;
  virtual Task<void> close(int code, std::string reason) = 0;
  // From now on the other side may stop reading for as long as it likes (a pager, a process that
  // does not take its stdin): silence and slow writes are no reason to close. That it is dead is
  // left to TCP, which is told to keep asking.
  virtual void be_patient() {}
};

struct Request {
  std::string method;
  std::string path;   // decoded only where a route takes a segment; leading slashes collapsed
  std::string query;  // raw
  Headers headers;
  std::string body;                                         // complete, for routes of Body::whole
  std::shared_ptr<BodyReader> body_stream;                  // for routes of Body::stream
  std::vector<std::pair<std::string, std::string>> params;  // of the route's pattern, decoded
  std::string peer;
  std::string scheme;      // "http" or "https"
  std::string request_id;  // in every log line and in the X-Request-Id of the answer

  std::string param(std::string_view name) const;  // "" where the route has none
  // Form-decoded ('+' is a space); invalid %-sequences were refused with 400 before a handler runs.
  std::optional<std::string> query_value(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  // Instead of a body: called after the head is sent. The response is chunked and ends when the
  // task ends; an error cuts the connection (no final chunk), so that no client takes half a body
  // for a whole one.
  std::function<Task<void>(BodyWriter&)> stream;
  // With a Content-Length header of its own it is sent as it is, and must then make exactly that
  // many bytes. Instead of all that: the request must be a WebSocket upgrade (else 426), and this
  // task talks on it.
  std::function<Task<void>(WebSocket&)> upgrade;
  // Of error_response: the server writes `body` anew, with the request id in it.
  std::optional<Error> error;
};

Response json(int status, std::string body);
Response empty(int status);
Response text(int status, std::string body);
int status_of(Code code);
// {"error": what, "code": TAG}: the tag of the error, or one made of its Code ("NOT_FOUND"). With a
// request id in it.
Response error_response(const Error& error);

}  // namespace glovebox::http
