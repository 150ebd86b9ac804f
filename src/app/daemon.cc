#include "app/daemon.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

constexpr Millis kGreetingLimit = 10s;

// What cannot be had is said, and lived with.
void raise_open_files(const std::string& part, std::int64_t files) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  auto wanted = static_cast<rlim_t>(files);
  rlimit raised{std::max(wanted, limit.rlim_cur), std::max(wanted, limit.rlim_max)};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    log::warn(part + ".open_files", {{"limit", limit.rlim_cur}, {"wanted", wanted}});
}

Result<Greeting> greet(Channel& channel, Keys& keys) {
  Greeting greeting;
  for (;;) {
    pollfd event{channel.fd(), POLLIN, 0};
    if (::poll(&event, 1, static_cast<int>(kGreetingLimit.count())) <= 0)
      return Error{Code::timeout, "the supervisor says nothing"};
    TRY(lines, channel.receive());
    for (const std::string& line : lines) {
      if (line == "start") return greeting;
      (void)greeting.take(line, keys);
    }
  }
}

// Before there are threads: signals are read by the loop, and by nobody else.
void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT}) sigaddset(&set, signo);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
}

// Keys that change; ends when the supervisor does.
Task<void> hear_supervisor(Daemon* daemon, std::function<void()> keys_changed) {
  for (;;) {
    CO_TRY_DO(co_await net::readable(daemon->channel.fd(), net::kForever));
    auto lines = daemon->channel.receive();
    if (!lines) {
      log::warn(daemon->part.name + ".stop", {{"why", "the supervisor is gone"}});
      co_return ok;
    }
    for (const std::string& line : *lines) {
      auto [word, rest] = first_word(line);
      if (word != "key" || !daemon->keys.take(rest)) continue;
      keys_changed();
      log::info(daemon->part.name + ".key", {{"name", first_word(rest).first}});
    }
  }
}

Task<void> stop_signal(Daemon* daemon) {
  CO_TRY(number, co_await net::next_signal({SIGTERM, SIGINT}));
  log::info(daemon->part.name + ".stop", {{"signal", number}});
  co_return ok;
}

}  // namespace

bool Keys::take(std::string_view name_and_value) {
  auto [name, value] = first_word(name_and_value);
  bool optional = std::ranges::find(part_->optional_keys, name) != part_->optional_keys.end();
  if (!optional && std::ranges::find(part_->keys, name) == part_->keys.end()) return false;
  if (value.empty() && !optional) return false;
  Secret& mine = all_[name];
  if (mine.equals(value)) return false;
  mine = Secret(value);
  return true;
}

const Secret& Keys::operator[](std::string_view name) const {
  static const Secret kNone;
  auto found = all_.find(name);
  return found == all_.end() ? kNone : found->second;
}

bool Greeting::take(std::string_view line, Keys& keys) {
  auto [word, rest] = first_word(line);
  auto [first, second] = first_word(rest);
  if (word == "key") {
    (void)keys.take(rest);
  } else if (word == "url") {
    urls[first] = second;
  } else if (word == "user") {
    auto uid = parse_int<uid_t>(first);
    auto gid = parse_int<gid_t>(second);
    if (!uid || !gid) return false;
    user = User{*uid, *gid};
  } else {
    return false;
  }
  return true;
}

std::string Daemon::url(std::string_view other) const {
  auto found = greeting.urls.find(other);
  return found == greeting.urls.end() ? "" : found->second;
}

Result<int> run_daemon(const cli::Context& context, const PartSpec& part, Serve serve,
                       std::int64_t (*open_files)(const Config&)) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kChannelFd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return cli::usage_error("this is a part of Glovebox; it is started by 'glovebox up'");
  log::set_part(part.name);
  Channel channel{Fd(kChannelFd)};
  auto failed = [&](Channel& to, Error error) -> Result<int> {
    (void)to.send("failed " + error.what);
    log::error(part.name + ".failed", {{"error", error.what}});
    return error;
  };
  auto config = config_of_environment(context.env);
  if (!config) return failed(channel, std::move(config.error()));
  log::set_level(config->log);
  block_signals();
  Keys keys(part);
  auto greeting = greet(channel, keys);
  if (!greeting) return failed(channel, std::move(greeting.error()));
  raise_open_files(part.name, open_files(*config));
  if (greeting->user)
    if (auto done = become(*greeting->user); !done) return failed(channel, std::move(done.error()));

  Daemon daemon{.part = part,
                .config = std::move(*config),
                .channel = std::move(channel),
                .keys = std::move(keys),
                .greeting = std::move(*greeting)};
  auto ended = net::run(daemon.loop, serve(&daemon));
  if (!ended) return failed(daemon.channel, std::move(ended.error()));
  return 0;
}

Task<void> until_stopped(Daemon* daemon, std::function<void()> keys_changed) {
  auto hearing = hear_supervisor(daemon, std::move(keys_changed));
  co_return co_await net::first_of(stop_signal(daemon), std::move(hearing));
}

std::vector<std::string> allowed_hosts(std::vector<std::string> own,
                                       const std::vector<std::string>& configured, bool loopback) {
  if (!loopback) return configured;
  own.insert(own.end(), configured.begin(), configured.end());
  return own;
}

Result<std::unique_ptr<http::Server>> serve_listener(
    Daemon* daemon, std::vector<http::Route> routes, http::ServerOptions options,
    const std::string& listen, const std::vector<std::string>& hosts, const std::string& also_on) {
  TRY(wanted, net::Address::parse(listen));
  options.allowed_hosts =
      allowed_hosts(std::move(options.allowed_hosts), hosts, wanted.is_loopback());
  auto server = std::make_unique<http::Server>(daemon->loop, std::move(routes), std::move(options));
  TRY(address, server->adopt(Fd(kListenerFd)));
  log::info(daemon->part.name + ".listen", {{"address", address.text()}});
  if (!also_on.empty() && address.host == "127.0.0.1") {
    net::Address other = address;
    other.host = also_on;
    auto listening = server->listen(other);
    log::info(daemon->part.name + ".listen",
              {{"address", other.text()}, {"error", listening ? "" : listening.error().what}});
  }
  return server;
}

}  // namespace glovebox::app
