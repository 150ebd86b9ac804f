// What the process of every part does alike: it learns from its supervisor what it needs, becomes
// its user, says when it serves, hears of changed keys, and stops when it is told to or when the
// supervisor has gone.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "app/channel.h"
#include "app/parts.h"
#include "app/users.h"
#include "base/secret.h"
#include "http/server.h"
#include "net/loop.h"

namespace glovebox::app {

// The keys a part is told, and no others. Whoever checks one asks each time, so that a rotated key
// counts at once.
class Keys {
 public:
  explicit Keys(const PartSpec& part) : part_(&part) {}
  // "NAME VALUE" of the supervisor; whether that changed anything.
  bool take(std::string_view name_and_value);
  const Secret& operator[](std::string_view name) const;  // empty: there is none

 private:
  const PartSpec* part_;
  std::map<std::string, Secret, std::less<>> all_;
};

// All the supervisor says before `start`.
struct Greeting {
  std::optional<User> user;
  std::map<std::string, std::string, std::less<>> urls;  // of other parts
  // A line; false: it is none of a greeting.
  bool take(std::string_view line, Keys& keys);
};

struct Daemon {
  const PartSpec& part;
  Config config;
  Channel channel;
  Keys keys;
  Greeting greeting;
  net::Loop loop{};

  std::string directory() const { return config.state + "/" + part.name; }
  std::string url(std::string_view other) const;  // "" where it was not told one
  void note(std::string_view text) { (void)channel.send(str("note ", text)); }
  Result<void> ready() { return channel.send("ready"); }
};

using Serve = Task<void> (*)(Daemon*);
// The whole life of the process. `open_files` is how many it would like to have.
Result<int> run_daemon(const cli::Context& context, const PartSpec& part, Serve serve,
                       std::int64_t (*open_files)(const Config&));

// Until a signal, or until the supervisor has gone; `keys_changed` on the way.
Task<void> until_stopped(Daemon* daemon, std::function<void()> keys_changed);

// A server on the listener the process was born with. The Hosts it answers to: on loopback only
// `options.allowed_hosts`, the names of this machine, and the configured ones, so that no foreign
// page gets in by DNS; elsewhere all, unless some are configured. Beside 127.0.0.1 also on
// `also_on`, at the same port, where that is free.
Result<std::unique_ptr<http::Server>> serve_listener(Daemon* daemon,
                                                     std::vector<http::Route> routes,
                                                     http::ServerOptions options,
                                                     const std::string& listen,
                                                     const std::vector<std::string>& hosts,
                                                     const std::string& also_on = "");
std::vector<std::string> allowed_hosts(std::vector<std::string> own,
                                       const std::vector<std::string>& configured, bool loopback);

}  // namespace glovebox::app
