#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "app/channel.h"
#include "app/commands.h"
#include "app/leftovers.h"
#include "app/log_file.h"
#include "app/parts.h"
#include "app/program.h"
#include "app/state.h"
#include "app/supervisor.h"
#include "app/users.h"
#include "sys/process.h"

namespace glovebox::app {

namespace {

constexpr Millis kPurgeLimit = 300s;  // many boxes

Result<void> wait_gone(int pidfd, Millis limit) {
  pollfd event{pidfd, POLLIN, 0};
  if (::poll(&event, 1, static_cast<int>(limit.count())) > 0) return ok;
  return Error{Code::timeout, "it does not stop"};
}

Result<bool> stop_supervisor(const Config& config, cli::Output& out) {
  TRY(holder, find_holder(config.state), "find the supervisor (as root?)");
  if (!holder) return false;
  if (::syscall(SYS_pidfd_send_signal, holder->pidfd.get(), SIGTERM, nullptr, 0) < 0 &&
      errno != ESRCH)
    return sys_error(str("stop pid ", holder->pid));
  if (!wait_gone(holder->pidfd.get(), 2s)) {
    out.note(str("glovebox: waiting for pid ", holder->pid, " …"));
    // The parts stop one after the other, and the supervisor kills what does not stop in time.
    auto limit = stop_limit(config) * static_cast<int>(all_parts().size()) + 10s;
    TRY_DO(wait_gone(holder->pidfd.get(), limit), "stop pid ", holder->pid);
  }
  return true;
}

// The engine itself knows best what it has made: it is run once more, without a listener, to take
// all of it away.
Result<void> purge(const Config& config, const cli::Context& context, cli::Output& out) {
  const PartSpec& engine = part_named("engine");
  if (::access((config.state + "/run").c_str(), F_OK) < 0) return ok;  // nothing ever ran here
  TRY_DO(prepare_state(config.state));
  TRY(lock, InstanceLock::take(config.state));
  for (const PartSpec& part : all_parts()) TRY_DO(release_user(config.state + "/" + part.name));
  if (::access(str(config.state, "/", engine.name).c_str(), F_OK) < 0) return ok;
  TRY(program, own_program());
  await_leftovers(config.state, program);
  remove_endpoints(config.state);
  TRY(ends, Channel::make());
  TRY_DO(ends.first.send("start"));
  sys::SpawnSpec child{.program = program, .args = {"glovebox", engine.command, "--purge"}};
  child.env = part_environment(config, engine, context.env);
  TRY(log, open_log(str(config.state, "/log/", engine.name, ".log")));
  child.fds = {{log.get(), STDERR_FILENO}, {ends.second.fd(), kChannelFd}};
  TRY(process, sys::spawn(child), "start the engine");
  ends.second.close();
  TRY_DO(wait_gone(process.exit_event(), kPurgeLimit), "remove all sandboxes");
  TRY(status, process.reap());
  std::string reason;
  if (auto lines = ends.first.receive())
    for (const std::string& line : *lines) {
      auto [word, rest] = first_word(line);
      if (word == "failed") reason = rest;
      if (word == "note") out.note("glovebox: " + rest);
    }
  if (status == 0) return ok;
  return Error{Code::internal, str("the engine could not remove everything: ",
                                   reason.empty() ? "see its log" : reason)};
}

Result<int> down(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(config, load_config(context));
  TRY(stopped, stop_supervisor(config, out));
  if (args.flag("--all")) {
    TRY(hand, hand_program(config));
    config.engine.hand = std::move(hand);
    TRY_DO(purge(config, context, out));
  }
  if (!stopped) out.note(str("glovebox: nothing was running in ", config.state));
  out.object(
      {{"state", config.state},
       {"stopped", stopped},
       // Programs have known it by another name than people do.
       {out.json() ? "boxes" : "sandboxes", args.flag("--all") ? "removed" : "left as they are"}});
  return 0;
}

}  // namespace

const cli::Command kDown{
    .name = "down",
    .usage = "down [--all]",
    .help =
        "Stop Glovebox; sandboxes go on running.\n"
        "\n"
        "Waits until it is gone. With --all the sandboxes end too, with all that is in them, and\n"
        "everything that was mounted for them goes; this works also when nothing is running.",
    .run = down};

}  // namespace glovebox::app
