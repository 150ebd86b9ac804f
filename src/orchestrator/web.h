// What a session's metadata names by an https URL, fetched from here: nothing in the box has to
// reach anything, and no credential of ours goes along.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "http/client.h"
#include "net/loop.h"

namespace glovebox::orchestrator {

struct WebRules {
  // Host names that may be asked; "*.example.com" is all below it, "*" is any. One that is named
  // in full may have a private address; else only public ones are dialled, whatever the name says.
  std::vector<std::string> hosts;
  std::string also_trust = {};  // certificates besides the system's
};

// Of the errors of all that is here: told by the other side, or about it. What has that tag and is
// no Code::unavailable or Code::timeout will not become better.
inline constexpr const char* kFromTheWeb = "FROM_THE_WEB";

// An answer of status 200 as it comes. After redirections `url` is where it came from.
struct WebAnswer {
  std::string url;
  std::shared_ptr<http::Client> client;  // the body's connection is its
  std::unique_ptr<http::BodyReader> body;
};

class Web {
 public:
  Web(net::Loop& loop, WebRules rules) : loop_(loop), rules_(std::move(rules)) {}

  Task<WebAnswer> get(std::string url);  // follows redirections, each by the same rules
  Task<WebAnswer> post(std::string url, std::string type, std::string body);

 private:
  Task<WebAnswer> ask(std::string method, std::string url, std::string type, std::string body);
  net::Loop& loop_;
  const WebRules rules_;
};

}  // namespace glovebox::orchestrator
