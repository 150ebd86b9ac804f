#include "app/worker_script.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "base/log.h"
#include "net/deadline.h"
#include "net/task.h"
#include "runner/json.h"

namespace glovebox::app {

namespace {

// The whole item, secret and all, as a file without a name: nobody need read it, and no pipe is
// full.
Result<Fd> item_as_stdin(const runner::Work& work) {
  Fd file(::memfd_create("work", MFD_CLOEXEC));
  if (!file) return sys_error("memfd_create");
  std::string_view json = work.json.reveal();
  while (!json.empty()) {
    ssize_t n = ::write(file.get(), json.data(), json.size());
    if (n < 0) return sys_error("the item for the script");
    json.remove_prefix(static_cast<std::size_t>(n));
  }
  ::lseek(file.get(), 0, SEEK_SET);
  return file;
}

Task<void> watch_exit(int exit_event, std::shared_ptr<bool> exited,
                      std::shared_ptr<net::Event> changed) {
  CO_TRY_DO(co_await net::readable(exit_event, net::kForever));
  *exited = true;
  changed->notify();
  co_return ok;
}

// It has a session, and so a group, of its own.
void kill_group(pid_t leader) { ::kill(-leader, SIGKILL); }

}  // namespace

std::vector<std::string> script_environment(const Worker& worker, const runner::Work& work) {
  cli::Environment env = worker.env;
  env["ANTHROPIC_WORK_ID"] = work.id;
  env["ANTHROPIC_ENVIRONMENT_ID"] = work.environment_id;
  env["ANTHROPIC_SESSION_ID"] = work.session_id;
  env["ANTHROPIC_ENVIRONMENT_KEY"] = worker.key->reveal();
  env.erase("ANTHROPIC_WORK_SECRET");
  if (auto json = runner::parse_json(work.json.reveal()))
    if (std::string secret = runner::text(*json, "secret"); !secret.empty())
      env["ANTHROPIC_WORK_SECRET"] = secret;
  // A flag of ours says where the service is: the script's own worker must find it as well.
  if (worker.options.base_url_is_set) env["ANTHROPIC_BASE_URL"] = worker.options.service_url;
  std::vector<std::string> out;
  for (const auto& [name, value] : env) out.push_back(str(name, '=', value));
  return out;
}

Result<sys::Process> start_script(const Worker& worker, const runner::Work& work) {
  TRY(input, item_as_stdin(work));
  char* here = ::get_current_dir_name();
  const std::string cwd = here ? here : "/";
  ::free(here);
  return sys::spawn({.program = worker.options.script,
                     .args = {worker.options.script},
                     .env = script_environment(worker, work),
                     .fds = {{input.get(), STDIN_FILENO},
                             {STDERR_FILENO, STDOUT_FILENO},
                             {STDERR_FILENO, STDERR_FILENO}},
                     .cwd = cwd,
                     .new_session = true});
}

Task<int> end_of_script(net::Loop& loop, sys::Process process, std::function<bool()> wanted,
                        std::shared_ptr<net::Event> changed, Millis grace) {
  const pid_t pid = process.pid();
  auto exited = std::make_shared<bool>(false);
  net::TaskGroup watch(loop);
  watch.spawn("script", watch_exit(process.exit_event(), exited, changed));
  bool asked = false;
  net::Deadline patience(net::kForever);
  while (!*exited) {
    if (!asked && wanted()) {
      asked = true;
      patience = net::Deadline(grace);
      (void)process.signal(SIGTERM);
    }
    auto waited = co_await changed->wait(patience.left());
    if (waited) continue;
    kill_group(pid);
    patience = net::Deadline(net::kForever);
    if (waited.error().code == Code::timeout) {
      log::warn("script.killed", {{"pid", pid}});
      continue;
    }
    (void)co_await watch.finish(1s);
    co_return std::move(waited.error());
  }
  (void)co_await watch.finish(1s);
  co_return process.reap();
}

}  // namespace glovebox::app
