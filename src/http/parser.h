// One HTTP/1.1 message out of bytes, fed without a socket. Beast parses the head; here stands what
// we refuse beyond that, so that no request means one thing to us and another to a proxy in front
// of us.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace glovebox::http {

struct Refused {  // an answer before any handler was asked
  int status = 400;
  std::string tag;
  std::string what;
};
template <class T>
using Parsed = std::expected<T, Refused>;

struct ParserLimits {
  std::size_t head = 32 * 1024;
  std::size_t headers = 100;
};

class Parser {
 public:
  virtual ~Parser() = default;
  // Takes bytes off the front of `input` and says how many; 0 means that more are needed than are
  // there. Reads the head completely before any of the body, and never past the end of the message.
  virtual Parsed<std::size_t> feed(std::string_view input) = 0;
  // The other side sent all it had. For answers without a length this is their end.
  virtual Parsed<void> feed_end() = 0;
  virtual bool head_done() const = 0;
  virtual bool done() const = 0;
  virtual bool keep_alive() const = 0;  // the next three: once head_done()
  virtual bool chunked() const = 0;
  virtual std::optional<std::uint64_t> content_length() const = 0;

  std::string body;  // of the message, as far as fed; the caller takes it away
  Headers headers;
  int minor_version = 1;
  std::string method, target;  // of a request
  int status = 0;              // of an answer
};

std::unique_ptr<Parser> request_parser(ParserLimits limits);
std::unique_ptr<Parser> response_parser(ParserLimits limits,
                                        bool has_no_body);  // the answer to HEAD has none

}  // namespace glovebox::http
