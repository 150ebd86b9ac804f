// How parts come to life: their sockets, users and keys, and what they are told.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "app/leftovers.h"
#include "app/log_file.h"
#include "app/program.h"
#include "app/supervisor.h"
#include "app/well_known.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/stream.h"
#include "sys/tree.h"

namespace glovebox::app {

using Steady = std::chrono::steady_clock;

namespace {

constexpr Millis kStartLimit = 120s;  // an engine finds its boxes again first

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
                       " is taken by another program (who: ss -ltnp); choose another (its "
                       "setting ends in .listen), or stop that one")};
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

// Who is told that it runs already wants to know where.
Error where_it_runs(Error error, const std::string& state) {
  auto endpoints = read_endpoints(state);
  if (error.code == Code::conflict && endpoints)
    for (const PartStatus& part : endpoints->parts)
      if (!part.url.empty()) error.what += str("; ", part.name, " at ", part.url);
  return error;
}

}  // namespace

std::string client_url(const std::string& listen, int port) {
  auto address = net::Address::parse(listen);
  if (!address) return listen;
  if (!address->unix_path.empty()) return listen;
  if (address->host == "0.0.0.0" || address->host == "::") address->host = "127.0.0.1";
  address->port = port;
  return "http://" + address->text();
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
  TRY_DO(offer_programs(state), "programs of the parts");
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
  return watch_keys();
}

Result<void> Supervisor::watch_keys() {
  const Config& config = options_.config;
  key_watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!key_watch_ || ::inotify_add_watch(key_watch_.get(), (config.state + "/keys").c_str(),
                                         IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE) < 0)
    return sys_error("watch keys");
  // The folders: what renews certificates puts new links in the place of old ones.
  for (const std::string& file : {config.ingress.certificate, config.ingress.certificate_key}) {
    const std::string folder = file.substr(0, std::max<std::size_t>(file.rfind('/') + 1, 1));
    if (!file.empty() && ::inotify_add_watch(key_watch_.get(), folder.c_str(),
                                             IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0)
      return sys_error("watch " + folder);
  }
  return ok;
}

// The operator's certificate and its key as one word. Read here: the key is root's, and the ingress
// is not.
Result<Secret> Supervisor::certificate() const {
  constexpr std::size_t kLimit = 20 * 1024;
  const Config::Ingress& ingress = options_.config.ingress;
  if (ingress.certificate.empty()) return Error{Code::not_found, "there is none"};
  auto cert = sys::read_file(ingress.certificate, kLimit);
  if (!cert) return Error{Code::invalid, "ingress.certificate: " + cert.error().what};
  auto key = sys::read_file(ingress.certificate_key, kLimit);
  if (!key) return Error{Code::invalid, "ingress.certificate_key: " + key.error().what};
  const Secret both(str(*cert, '\n', *key));
  return Secret(base64url(both.reveal()));
}

Result<void> Supervisor::open_part(const PartSpec& spec) {
  const std::string& state = options_.config.state;
  std::string directory = state + "/" + spec.name;
  Part part;
  part.spec = &spec;
  part.status.name = spec.name;
  if (spec.user == PartSpec::User::root) {
    TRY_DO(sys::make_dirs(directory, 0700));
  } else {
    if (std::string closed = closed_to_others(state); !closed.empty())
      return Error{
          Code::forbidden,
          str("it runs as a user of its own, who cannot get to ", state, " through ", closed,
              ": put the state directory elsewhere (--state, GLOVEBOX_STATE; ", "the default is ",
              Config().state, "), or let others pass with chmod o+x ", closed)};
    TRY(user, user_for(spec.name, directory, options_.claims));
    part.user = user;
  }
  const std::string& environment = options_.config.orchestrator.environment_id;
  if (takes_work(spec, options_.config) && !environment.empty()) {
    TRY(held, EnvironmentLock::take(environment, options_.claims));
    environment_ = std::move(held);
  }
  for (const std::string& name : spec.keys) TRY_DO(key(name, true));
  TRY_DO(open_listener(part));
  parts_.push_back(std::move(part));
  return ok;
}

Result<void> Supervisor::open_listener(Part& part) {
  std::string listen = part.spec->listen(options_.config);
  if (listen.empty()) return ok;
  TRY(address, net::Address::parse(listen));
  TRY(listener, bind_for(listen, read_endpoints(options_.config.state).has_value()));
  TRY(port, port_of(listener.get()));
  part.listener = std::move(listener);
  part.status.url = client_url(listen, port);
  if (!address.is_loopback() && part.spec->name != "ingress")
    options_.note(str(part.spec->name, " listens on ", listen,
                      ": everybody who reaches this machine reaches it, without TLS; the key is "
                      "all that guards it"));
  return ok;
}

Result<void> Supervisor::start(Part& part) {
  const PartSpec& spec = *part.spec;
  TRY(ends, Channel::make());
  part.channel = std::move(ends.first);
  TRY_DO(greet(part), "tell ", spec.name, " what it needs");
  Fd log;
  if (options_.log_to_files) {
    TRY(file, open_log(str(options_.config.state, "/log/", spec.name, ".log")));
    log = std::move(file);
  }
  sys::SpawnSpec child{.program = options_.program, .args = {"glovebox", spec.command}};
  // A fault a test planted strikes once: what is started again is to repair it.
  if (part.status.restarts > 0) options_.environment.erase("GLOVEBOX_FAULT");
  child.env = part_environment(options_.config, spec, options_.environment);
  child.fds = {{log ? log.get() : STDERR_FILENO, STDERR_FILENO}, {ends.second.fd(), kChannelFd}};
  if (part.listener) child.fds.emplace_back(part.listener.get(), kListenerFd);
  child.new_session = true;  // Ctrl-C is for us; we stop the parts
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

Result<void> Supervisor::greet(Part& part) {
  // It becomes that user by itself, first of all: our program need not be where the user can run
  // it, and a process that changed its user cannot be looked into by others of that user.
  if (part.user) TRY_DO(part.channel.send(str("user ", part.user->uid, ' ', part.user->gid)));
  TRY_DO(send_keys(part));
  for (const Part& other : parts_)
    if (std::ranges::find(part.spec->urls, other.spec->name) != part.spec->urls.end())
      TRY_DO(part.channel.send(str("url ", other.spec->name, ' ', other.status.url)));
  return part.channel.send("start");
}

Result<Secret> Supervisor::key(const std::string& name, bool make) {
  if (auto given = options_.keys.find(name); given != options_.keys.end()) return given->second;
  if (name == "certificate") return certificate();
  if (make) return ensure_key(options_.config.state, name);
  return read_key(options_.config.state, name);
}

Result<void> Supervisor::send_keys(Part& part) {
  for (const std::string& name : part.spec->keys) {
    TRY(value, key(name, false));
    TRY_DO(part.channel.send(str("key ", name, ' ', value.reveal())));
  }
  for (const std::string& name : part.spec->optional_keys) {
    if (!is_told(*part.spec, name, options_.config)) continue;
    auto value = key(name, false);
    if (!value && value.error().code != Code::not_found) return std::move(value.error());
    if (value && name == "model" && is_own_key(value->reveal()))
      return Error{Code::invalid, str("keys/", name, " holds a key of a Glovebox, which is never ",
                                      "sent to a model; it must be the model's key")};
    TRY_DO(part.channel.send(str("key ", name, ' ', value ? value->reveal() : "")));
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

}  // namespace glovebox::app
