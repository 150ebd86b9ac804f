#include "hand/server.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"

namespace glovebox::hand {
namespace {

constexpr std::size_t kMaxConnections = 16;
constexpr std::size_t kRingsOfAll =
    4 * 1024 * 1024;  // beside the least of each, which is as much again
constexpr std::size_t kRingsOfTransfers = 4 * 1024 * 1024;  // sixteen at full speed
constexpr auto kHelloLimit = 10s;
constexpr auto kTermGrace = 5s;  // when it is SIGTERM that ends us
constexpr auto kKillLimit = 2s;  // for killed processes to be gone
constexpr auto kFlushLimit = 200ms;
constexpr auto kIdle = 3600s;

Time present() { return std::chrono::steady_clock::now(); }

}  // namespace

Hand::Hand(Config config, Poll poll, Watched signals)
    : config_(std::move(config)),
      poll_(std::move(poll)),
      signals_(std::move(signals)),
      nursery_(poll_, config_,
               [this](pid_t pid) {
                 return running_.contains(pid) || pid == shell_.pid ||
                        std::ranges::any_of(idle_tools_,
                                            [&](auto& w) { return w.second.pid == pid; }) ||
                        std::ranges::any_of(starts_, [&](auto& s) { return s.second.pid == pid; });
               }),
      pool_(kRingsOfAll),
      passing_pool_(kRingsOfTransfers),
      oom_(std::move(config_.oom_events)),
      now_(present()),
      born_(now_) {
  listener_ = Watched(poll_, std::move(config_.listener), Source::listener, 0);
  listener_.want(EPOLLIN);
  signals_.want(EPOLLIN);
  unthrottle();
}

int Hand::run() {
  nursery_.want(0, now());
  while (!(stopping_ && (all_gone() || now() >= give_up_at_))) {
    auto limit = std::chrono::ceil<Millis>(next_deadline() - now());
    auto events = poll_.wait(limit);
    now_ = present();
    for (const auto& event : events) handle(event);
    meet_deadlines();
    go_on_with_answers();
    launch_waiting();
    serve_connections();
    erase_finished();
  }
  say_goodbye();
  return 0;
}

void Hand::handle(const Poll::Event& event) {
  auto process = processes_.find(event.id);
  bool known = process != processes_.end();
  switch (event.source) {
    case Source::listener: return accept();
    case Source::signals: return on_signals();
    case Source::helper: return nursery_.on_helper(now());
    case Source::blank: return nursery_.on_blank(event.id, now());
    case Source::start: return on_start(event.id);
    case Source::idle_tool: return lose_idle_tool(event.id);  // it has nothing to say
    case Source::connection:
      if (Connection* engine = connection(event.id)) on_connection(*engine, event.what);
      return;
    case Source::input:
      if (known) write_input(*process->second);
      return;
    case Source::output:
      if (known) read_output(*process->second, process->second->out, wire::kStdout);
      return;
    case Source::error_output:
      if (known) read_output(*process->second, process->second->err, wire::kStderr);
      return;
    case Source::control:
      if (known) on_control(*process->second);
      return;
    case Source::group:
      if (known) leader_gone(*process->second);
      return;
  }
}

void Hand::accept() {
  Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket || connections_.size() >= kMaxConnections) return;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return;
  // An engine is outside of our process namespace, where it has no number. Who has one is of the
  // tenant's.
  if (config_.is_init && peer.pid > 0) {
    log::warn("hand.stranger", {{"pid", peer.pid}});
    return;
  }
  std::uint64_t id = next_connection_++;
  auto engine = std::make_unique<Connection>(poll_, std::move(socket), id);
  engine->patience = now() + kHelloLimit;
  connections_.emplace(id, std::move(engine));
}

void Hand::on_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    // A signal from inside, which the kernel would keep from any first process that does not read
    // them like this.
    bool stranger = config_.is_init && info.ssi_code <= 0 && info.ssi_pid != 0;
    if (info.ssi_signo != SIGCHLD && !stranger) begin_shutdown(kTermGrace);
  }
  reap();
}

Time Hand::next_deadline() const {
  Time next = std::min({now() + kIdle, nursery_.deadline(), next_tick_, kill_at_, give_up_at_});
  if (shell_wanted_) next = std::min(next, last_shell_until_);
  for (auto& [id, start] : starts_) next = std::min(next, start.deadline);
  for (auto& [id, engine] : connections_)
    if (!engine->greeted || engine->finishing()) next = std::min(next, engine->patience);
  for (auto& [handle, process] : processes_)
    next = std::min({next, process->deadline, process->drain_until});
  return next;
}

void Hand::meet_deadlines() {
  nursery_.tick(now());
  if (now() >= last_shell_until_) start_shell();
  if (now() >= next_tick_) unthrottle();
  std::vector<std::uint64_t> late;
  for (auto& [id, start] : starts_)
    if (now() >= start.deadline) late.push_back(id);
  for (auto id : late)
    if (starts_.contains(id))
      give_up(id, Error{Code::timeout, "the sandbox did not start it in time; try again"});
  std::vector<Connection*> impatient;
  for (auto& [id, engine] : connections_)
    if ((!engine->greeted || engine->finishing()) && now() >= engine->patience)
      impatient.push_back(engine.get());
  for (Connection* engine : impatient) drop(*engine);
  for (auto& [handle, process] : processes_) {
    if (now() >= process->deadline) {
      process->deadline = Time::max();
      process->info.timed_out = true;
      kill(*process);
    }
    if (now() >= process->drain_until) {
      // Held output is still to be read, by whoever holds it; also where he has made room for it
      // only now.
      if (!process->answer.empty() || ((process->out || process->err) &&
                                       (!process->ring.make_room(1) || has_unread(*process)))) {
        process->drain_until = now() + kFlushLimit;
      } else {
        check_drained(*process);
      }
    }
  }
  if (now() >= kill_at_) {
    kill_at_ = Time::max();
    give_up_at_ = now() + kKillLimit;
    killed_all_ = true;
  }
  if (killed_all_) kill_everything();
}

void Hand::serve_connections() {
  std::vector<Connection*> lost;
  for (auto& [id, engine] : connections_) {
    do {
      continue_listings(*engine);
      if (engine->pending && !pump(*engine) && engine->room_for_output()) engine->pending = false;
      engine->flush();
    } while ((engine->pending || !engine->listings.empty()) && engine->room_for_output() &&
             !engine->lost());
    if (engine->lost()) lost.push_back(engine.get());
  }
  for (Connection* engine : lost) drop(*engine);
  // What only they held up goes on, to those who are left.
  if (!lost.empty() && !held_answers_.empty()) {
    go_on_with_answers();
    serve_connections();
  }
}

void Hand::drop(Connection& engine) {
  std::uint64_t id = engine.id();
  for (auto [request, handle] : engine.readers)
    if (auto found = processes_.find(handle); found != processes_.end())
      remove_reader(*found->second, id, request);
  connections_.erase(id);
  for (auto& [handle, process] : processes_)
    if (process->starter == id) starter_gone(*process);
}

Connection* Hand::connection(std::uint64_t id) {
  auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

void Hand::begin_shutdown(Millis grace) {
  Time kill_at = now() + grace;
  if (stopping_) {  // a second word can only hasten it
    if (!killed_all_) kill_at_ = std::min(kill_at_, kill_at);
    return;
  }
  stopping_ = true;
  kill_at_ = kill_at;
  while (!starts_.empty())
    give_up(starts_.begin()->first,
            Error{Code::conflict, "the sandbox is ending", "SHUTTING_DOWN"});
  nursery_.close();
  end_idle_tools();
  if (config_.is_init) {
    ::kill(-1, SIGTERM);
    return;
  }
  for (auto& [handle, process] : processes_)
    if (!process->group_gone) (void)process->group.signal(SIGTERM);
  if (shell_.pid > 0) kill_shell();  // an interactive shell does not listen to SIGTERM
}

// Everything in the box is our descendant, and what loses its parent becomes our child.
bool Hand::all_gone() const {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

void Hand::kill_everything() {
  if (config_.is_init) ::kill(-1, SIGKILL);
  if (Fd all(::openat(config_.user_cgroup.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC)); all)
    (void)!::write(all.get(), "1", 1);
  for (auto& [handle, process] : processes_)
    if (!process->group_gone) kill(*process);
  kill_shell();
  // What has left its process group comes to us when its parent is gone.
  Fd file(::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC));
  char list[16 * 1024];
  ssize_t n = file && !config_.is_init ? ::read(file.get(), list, sizeof list) : 0;
  for (const auto& word : split({list, static_cast<std::size_t>(std::max<ssize_t>(n, 0))}, ' '))
    if (auto pid = parse_int<pid_t>(word); pid && *pid > 0) ::kill(*pid, SIGKILL);
}

// What was already said is sent, to those who listen.
void Hand::say_goodbye() {
  for (Time until = present() + kFlushLimit; !connections_.empty() && present() < until;) {
    serve_connections();
    bool queued = false;
    for (auto& [id, engine] : connections_) queued |= engine->queued() > 0;
    if (!queued) return;
    (void)poll_.wait(10ms);
  }
}

int serve(Config config) { return serve(std::move(config), std::nullopt); }

int serve(Config config, std::optional<Helper> ahead) {
  ::prctl(PR_SET_DUMPABLE, 0);
  if (!config.is_init) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  sigset_t heard;
  sigemptyset(&heard);
  for (int number : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&heard, number);
  ::sigprocmask(SIG_BLOCK, &heard, nullptr);
  Fd signals(::signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK));
  auto poll = Poll::make();
  // Again, although it listens already: whose credentials a client sees is who listened last.
  if (!poll || !signals || ::listen(config.listener.get(), 16) < 0) {
    log::error("hand.start", {{"error", errno_name(errno)}});
    return 1;
  }
  ::fcntl(config.listener.get(), F_SETFL, O_NONBLOCK);
  try {
    Watched watched(*poll, std::move(signals), Source::signals, 0);
    Hand hand(std::move(config), std::move(*poll), std::move(watched));
    if (ahead) hand.adopt(std::move(*ahead));
    return hand.run();
  } catch (const std::exception& error) {  // out of memory: the box is lost, and says so
    log::error("hand.failed", {{"error", error.what()}});
    return 1;
  }
}

}  // namespace glovebox::hand
