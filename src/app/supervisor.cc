#include "app/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ranges>

#include "app/log_file.h"
#include "base/clock.h"
#include "base/log.h"

namespace glovebox::app {

using Steady = std::chrono::steady_clock;

namespace {

constexpr Millis kPatience = 2s;  // before people are told what we wait for
constexpr Millis kAskAgain = 120s;
constexpr Millis kFirstBackoff = 200ms, kLongestBackoff = 30s;
constexpr Millis kSound = 60s;  // whoever ran that long did not fail at the start
constexpr Millis kServed = 5s;
constexpr Millis kRotateEvery = 5s;

}  // namespace

Millis stop_limit(const Config& config) { return 20s + Seconds(config.orchestrator.drain_secs); }

Millis next_backoff(Millis last, Millis ran) {
  if (ran >= kSound || last == Millis(0)) return kFirstBackoff;
  return std::min(last * 2, kLongestBackoff);
}

std::string describe_exit(int wait_status) {
  if (WIFEXITED(wait_status)) return str("exit code ", WEXITSTATUS(wait_status));
  const char* name = ::sigabbrev_np(WTERMSIG(wait_status));
  return str("killed by ", name ? str("SIG", name) : str("signal ", WTERMSIG(wait_status)));
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
    } else if (word == "trouble") {
      part.status.problem = rest;
      if (!rest.empty()) options_.note(str(part.spec->name, ": ", rest));
      publish();
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
    return stop_next();
  }
  if (!told_ready_) {  // It never worked: trying again would hide why.
    failure_ = Error{Code::unavailable, str(part.spec->name, " could not be started: ", how)};
    part.phase = Phase::ended;
    return stop();
  }
  // One that served was no failure to start, and those who use it wait.
  bool served = part.phase == Phase::serving && ran >= kServed;
  part.backoff = next_backoff(part.backoff, served ? kSound : ran);
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
    if (stopping_)  // asked twice: no more patience
      for (Part& part : parts_)
        if (part.process) (void)part.process->signal(SIGKILL);
    stop();
  }
  reap();
}

void Supervisor::stop() {
  if (stopping_) return;
  stopping_ = true;
  stop_next();
}

// One after the other, the last first: the orchestrator's running calls need the engine and the
// brain until they have ended.
void Supervisor::stop_next() {
  for (Part& part : std::views::reverse(parts_)) {
    if (!part.process) {
      part.phase = Phase::ended;
      continue;
    }
    if (part.told_to_stop) return;
    part.told_to_stop = true;
    stop_due_ = Steady::now() + stop_limit(options_.config);
    (void)part.process->signal(SIGTERM);
    return;
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
      part.reason = "it did not become ready in time";
      (void)part.process->signal(SIGKILL);
      part.due = now + kAskAgain;
    }
  }
  if (!told_ready_ && !stopping_ && patience_ <= now) {
    for (const Part& part : parts_)
      if (part.phase == Phase::starting)
        options_.note(str("waiting for the ", part.spec->name, " …"));
    patience_ = now + kAskAgain;
  }
  if (stopping_ && stop_due_ <= now) {
    stop_due_ = now + kAskAgain;
    for (Part& part : parts_)
      if (part.process && part.told_to_stop) {
        log::error("part.killed", {{"name", part.spec->name}, {"why", "it did not stop in time"}});
        (void)part.process->signal(SIGKILL);
      }
  }
  if (options_.log_to_files && rotate_due_ <= now) rotate_logs(now);
}

void Supervisor::rotate_logs(Time now) {
  rotate_due_ = now + kRotateEvery;
  auto limit = static_cast<std::uint64_t>(options_.config.log_mb) << 20;
  std::vector<std::string> names{"supervisor"};
  for (const Part& part : parts_) names.push_back(part.spec->name);
  for (const std::string& name : names) {
    auto done = rotate_log(str(options_.config.state, "/log/", name, ".log"), limit);
    if (!done) log::warn("log.rotate", {{"name", name}, {"error", done.error().what}});
  }
}

Supervisor::Time Supervisor::next_due(Time now) const {
  Time due = now + 3600s;
  for (const Part& part : parts_)
    if (part.phase == Phase::waiting || part.phase == Phase::starting)
      due = std::min(due, part.due);
  if (!told_ready_ && !stopping_) due = std::min(due, patience_);
  if (stopping_) due = std::min(due, stop_due_);
  if (options_.log_to_files) due = std::min(due, rotate_due_);
  return due;
}

void Supervisor::publish() {
  Endpoints endpoints{.pid = ::getpid(),
                      .started_ms = started_ms_,
                      .ingress_domain = options_.config.ingress.domain};
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
