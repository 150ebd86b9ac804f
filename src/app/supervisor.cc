#include "app/supervisor.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "app/leftovers.h"
#include "app/log_file.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/stream.h"
#include "sys/tree.h"

namespace glovebox::app {

using Steady = std::chrono::steady_clock;

namespace {

constexpr Millis kStartLimit = 120s;  // an engine finds its boxes again first
constexpr Millis kStopLimit = 25s;    // more than a part takes to drain
constexpr Millis kPatience = 2s;      // before people are told what we wait for
constexpr Millis kFirstBackoff = 200ms, kLongestBackoff = 30s;
constexpr Millis kSound = 60s;  // whoever ran that long did not fail at the start
constexpr Millis kRotateEvery = 5s;

Result<Fd> bind_for(const std::string& listen, bool after_crash) {
  TRY(address, net::Address::parse(listen));
  // The parts of a supervisor that was killed hold their sockets until they noticed.
  Steady::time_point until = Steady::now() + (after_crash ? 10s : 0s);
  for (;;) {
    auto fd = net::Listener::bind(address);
    if (fd) return fd;
    if (fd.error().tag != "EADDRINUSE") return std::move(fd.error());
    if (Steady::now() > until)
      return Error{Code::conflict,
                   str(listen,
                       " is taken by another program (who: ss -ltnp); choose another with "
                       "--listen, or stop that one")};
    ::usleep(50'000);
  }
}

Result<int> port_of(int fd) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) < 0)
    return sys_error("getsockname");
  if (own.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&own)->sin_port);
  if (own.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&own)->sin6_port);
  return 0;
}

Result<std::optional<std::pair<uid_t, gid_t>>> ids_of(const std::string& user) {
  if (user == "root") return std::optional<std::pair<uid_t, gid_t>>{};
  const passwd* entry = ::getpwnam(user.c_str());
  if (!entry) return Error{Code::not_found, str("there is no user ", user, " on this machine")};
  return std::optional(std::pair{entry->pw_uid, entry->pw_gid});
}

// Who is told that it runs already wants to know where.
Error where_it_runs(Error error, const std::string& state) {
  auto endpoints = read_endpoints(state);
  if (error.code == Code::conflict && endpoints)
    for (const PartStatus& part : endpoints->parts)
      error.what += str("; ", part.name, " at ", part.url);
  return error;
}

}  // namespace

Millis next_backoff(Millis last, Millis ran) {
  if (ran >= kSound || last == Millis(0)) return kFirstBackoff;
  return std::min(last * 2, kLongestBackoff);
}

std::string client_url(const std::string& listen, int port) {
  auto address = net::Address::parse(listen);
  if (!address) return listen;
  if (!address->unix_path.empty()) return listen;
  if (address->host == "0.0.0.0" || address->host == "::") address->host = "127.0.0.1";
  address->port = port;
  return "http://" + address->text();
}

std::string describe_exit(int wait_status) {
  if (WIFEXITED(wait_status)) return str("exit code ", WEXITSTATUS(wait_status));
  const char* name = ::sigabbrev_np(WTERMSIG(wait_status));
  return str("killed by ", name ? str("SIG", name) : str("signal ", WTERMSIG(wait_status)));
}

Supervisor::Supervisor(SupervisorOptions options) : options_(std::move(options)) {}
Supervisor::~Supervisor() = default;

Result<std::unique_ptr<Supervisor>> Supervisor::make(SupervisorOptions options) {
  std::unique_ptr<Supervisor> made(new Supervisor(std::move(options)));
  TRY_DO(made->prepare());
  return made;
}

Result<void> Supervisor::prepare() {
  const std::string& state = options_.config.state;
  TRY_DO(prepare_state(state));
  auto lock = InstanceLock::take(state);
  if (!lock) return where_it_runs(std::move(lock.error()), state);
  lock_ = std::move(*lock);
  started_ms_ = system_clock().unix_ms();

  // Whatever a part leaves behind when it dies becomes our child, not the caller's session's.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) return sys_error("child subreaper");
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, signo);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return sys_error("signalfd");

  await_leftovers(state, options_.program);
  for (const PartSpec* spec : options_.parts) TRY_DO(open_part(*spec), spec->name);
  // After our own making of keys: whoever starts reads them afresh, what changes later is seen.
  key_watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!key_watch_ || ::inotify_add_watch(key_watch_.get(), (state + "/keys").c_str(),
                                         IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
    return sys_error("watch keys");
  return ok;
}

Result<void> Supervisor::open_part(const PartSpec& spec) {
  const std::string& state = options_.config.state;
  TRY(ids, ids_of(spec.user));
  std::string dir = state + "/" + spec.name;
  TRY_DO(sys::make_dirs(dir, 0700));
  if (ids && ::chown(dir.c_str(), ids->first, ids->second) < 0) return sys_error("own " + dir);
  for (const std::string& key : spec.keys) TRY_DO(ensure_key(state, key));
  std::string listen = spec.listen(options_.config);
  Part part;
  part.spec = &spec;
  TRY(listener, bind_for(listen, read_endpoints(state).has_value()));
  TRY(port, port_of(listener.get()));
  part.listener = std::move(listener);
  part.status.name = spec.name;
  part.status.url = client_url(listen, port);
  auto address = net::Address::parse(listen);
  if (address && !address->is_loopback())
    options_.note(str(spec.name, " listens on ", listen,
                      ": everybody who reaches this machine reaches it, without TLS; the key is "
                      "all that guards it"));
  parts_.push_back(std::move(part));
  return ok;
}

Result<void> Supervisor::start(Part& part) {
  const PartSpec& spec = *part.spec;
  TRY(ids, ids_of(spec.user));
  TRY(ends, Channel::make());
  part.channel = std::move(ends.first);
  TRY_DO(send_keys(part));
  TRY_DO(part.channel.send("start"));
  Fd log;
  if (options_.log_to_files) {
    TRY(file, open_log(str(options_.config.state, "/log/", spec.name, ".log")));
    log = std::move(file);
  }
  sys::SpawnSpec child{.program = options_.program, .args = {"glovebox", spec.command}};
  // A fault a test planted strikes once: what is started again is to repair it.
  if (part.status.restarts > 0) options_.environment.erase("GLOVEBOX_FAULT");
  child.env = part_environment(options_.config, spec, options_.environment);
  child.fds = {{log ? log.get() : STDERR_FILENO, STDERR_FILENO},
               {part.listener.get(), kListenerFd},
               {ends.second.fd(), kChannelFd}};
  child.new_session = true;  // Ctrl-C is for us; we stop the parts
  child.user = ids;
  TRY(process, sys::spawn(child));
  part.process = std::move(process);
  part.phase = Phase::starting;
  part.since = Steady::now();
  part.due = part.since + kStartLimit;
  part.reason.clear();
  part.status.pid = part.process->pid();
  part.status.started_ms = system_clock().unix_ms();
  log::info("part.start", {{"name", spec.name}, {"pid", part.status.pid}});
  return ok;
}

Result<void> Supervisor::send_keys(Part& part) {
  for (const std::string& name : part.spec->keys) {
    TRY(key, read_key(options_.config.state, name));
    TRY_DO(part.channel.send(str("key ", name, ' ', key.reveal())), "tell ", part.spec->name,
           " its keys");
  }
  return ok;
}

void Supervisor::keys_changed() {
  char events[4096];
  while (::read(key_watch_.get(), events, sizeof events) > 0) {
  }
  for (Part& part : parts_) {
    if (!part.process) continue;  // told when it starts
    auto sent = send_keys(part);
    if (sent) {
      log::info("keys.sent", {{"name", part.spec->name}});
    } else {  // A key that is half written or unsafe leaves the old one in force.
      log::warn("keys.refused", {{"name", part.spec->name}, {"error", sent.error().what}});
    }
  }
}

void Supervisor::hear(Part& part) {
  auto lines = part.channel.receive();
  if (!lines) return part.channel.close();  // it is ending; SIGCHLD tells how
  for (const std::string& line : *lines) {
    auto [word, rest] = first_word(line);
    if (word == "ready" && part.phase == Phase::starting) {
      part.phase = Phase::serving;
      part.status.problem.clear();
      log::info("part.ready", {{"name", part.spec->name}, {"url", part.status.url}});
      publish();
    } else if (word == "failed") {
      part.reason = rest;
    } else if (word == "note") {
      options_.note(rest);
    }
  }
}

void Supervisor::ended(Part& part, int wait_status) {
  hear(part);  // its last words
  part.process.reset();
  part.channel.close();
  part.status.pid = 0;
  Steady::time_point now = Steady::now();
  auto ran = std::chrono::duration_cast<Millis>(now - part.since);
  std::string how = part.reason.empty() ? describe_exit(wait_status) : part.reason;
  part.status.problem = how;
  if (stopping_) {
    part.phase = Phase::ended;
    log::info("part.stopped", {{"name", part.spec->name}, {"how", describe_exit(wait_status)}});
    return;
  }
  if (!told_ready_) {  // It never worked: trying again would hide why.
    failure_ = Error{Code::unavailable, str(part.spec->name, " could not be started: ", how)};
    part.phase = Phase::ended;
    return stop();
  }
  part.backoff = next_backoff(part.backoff, ran);
  part.phase = Phase::waiting;
  part.due = now + part.backoff;
  ++part.status.restarts;
  log::error("part.died",
             {{"name", part.spec->name}, {"how", how}, {"again_in_ms", part.backoff.count()}});
  options_.note(str(part.spec->name, " died (", how, "); it is started again"));
  publish();
}

// Everybody who died: parts, and what was left to us by parts that died before.
void Supervisor::reap() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) return;
    auto part = std::ranges::find_if(
        parts_, [&](const Part& p) { return p.process && p.process->pid() == info.si_pid; });
    if (part == parts_.end()) {
      ::waitpid(info.si_pid, nullptr, WNOHANG);
      continue;
    }
    auto status = part->process->reap();
    ended(*part, status ? *status : 0);
  }
}

void Supervisor::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;  // reap() looks anyway: such signals merge
    log::info("supervisor.stop", {{"signal", info.ssi_signo}});
    if (stopping_) stop_due_ = Steady::now();  // asked twice: no more patience
    stop();
  }
  reap();
}

void Supervisor::stop() {
  if (stopping_) return;
  stopping_ = true;
  stop_due_ = Steady::now() + kStopLimit;
  for (Part& part : parts_) {
    if (part.process) {
      (void)part.process->signal(SIGTERM);
    } else {
      part.phase = Phase::ended;
    }
  }
}

void Supervisor::tick(Time now) {
  for (Part& part : parts_) {
    if (part.phase == Phase::waiting && part.due <= now) {
      auto started = start(part);
      if (started) {
        publish();
        continue;
      }
      if (!told_ready_) {
        failure_ = std::move(started.error()).with("start " + part.spec->name);
        part.phase = Phase::ended;
        return stop();
      }
      part.backoff = next_backoff(part.backoff, 0ms);
      part.due = now + part.backoff;
      log::error("part.start_failed", {{"name", part.spec->name}, {"error", started.error().what}});
    } else if (part.phase == Phase::starting && part.due <= now) {
      part.reason = str("it did not become ready within ",
                        std::chrono::duration_cast<Seconds>(kStartLimit).count(), " s");
      (void)part.process->signal(SIGKILL);
      part.due = now + kStartLimit;
    }
  }
  if (!told_ready_ && !stopping_ && patience_ <= now) {
    for (const Part& part : parts_)
      if (part.phase == Phase::starting)
        options_.note(str("waiting for the ", part.spec->name, " …"));
    patience_ = now + kStartLimit;
  }
  if (stopping_ && !killing_ && stop_due_ <= now) {
    killing_ = true;
    for (Part& part : parts_)
      if (part.process) {
        log::error("part.killed", {{"name", part.spec->name}, {"why", "it did not stop in time"}});
        (void)part.process->signal(SIGKILL);
      }
  }
  if (options_.log_to_files && rotate_due_ <= now) {
    rotate_due_ = now + kRotateEvery;
    auto limit = static_cast<std::uint64_t>(options_.config.log_mb) << 20;
    std::vector<std::string> names{"supervisor"};
    for (const Part& part : parts_) names.push_back(part.spec->name);
    for (const std::string& name : names) {
      auto done = rotate_log(str(options_.config.state, "/log/", name, ".log"), limit);
      if (!done) log::warn("log.rotate", {{"name", name}, {"error", done.error().what}});
    }
  }
}

Supervisor::Time Supervisor::next_due(Time now) const {
  Time due = now + 3600s;
  for (const Part& part : parts_)
    if (part.phase == Phase::waiting || part.phase == Phase::starting)
      due = std::min(due, part.due);
  if (!told_ready_ && !stopping_) due = std::min(due, patience_);
  if (stopping_ && !killing_) due = std::min(due, stop_due_);
  if (options_.log_to_files) due = std::min(due, rotate_due_);
  return due;
}

void Supervisor::publish() {
  Endpoints endpoints{.pid = ::getpid(), .started_ms = started_ms_};
  for (const Part& part : parts_) endpoints.parts.push_back(part.status);
  auto written = write_endpoints(options_.config.state, endpoints);
  if (!written) log::error("endpoints.write", {{"error", written.error().what}});
  bool serving =
      std::ranges::all_of(parts_, [](const Part& p) { return p.phase == Phase::serving; });
  if (!serving || told_ready_) return;
  told_ready_ = true;
  options_.ready(endpoints);
}

Result<void> Supervisor::run() {
  patience_ = Steady::now() + kPatience;
  for (;;) {
    Time now = Steady::now();
    tick(now);
    if (stopping_ &&
        std::ranges::all_of(parts_, [](const Part& p) { return p.phase == Phase::ended; }))
      break;
    std::vector<pollfd> events{{signals_.get(), POLLIN, 0}, {key_watch_.get(), POLLIN, 0}};
    for (const Part& part : parts_)
      events.push_back({part.channel ? part.channel.fd() : -1, POLLIN, 0});
    auto wait = std::chrono::ceil<Millis>(next_due(now) - Steady::now());
    int n = ::poll(events.data(), events.size(),
                   static_cast<int>(std::max<std::int64_t>(0, wait.count())));
    if (n < 0 && errno != EINTR) return sys_error("poll");
    for (std::size_t i = 0; i < parts_.size(); ++i)
      if (events[i + 2].revents && parts_[i].channel) hear(parts_[i]);
    if (events[1].revents) keys_changed();
    if (events[0].revents) take_signals();
  }
  remove_endpoints(options_.config.state);
  if (failure_) return *failure_;
  return ok;
}

}  // namespace glovebox::app
