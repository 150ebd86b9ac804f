#include "hand/launcher.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <span>

#include "base/log.h"
#include "hand/hand.h"
#include "hand/launcher_box.h"
#include "sys/box.h"
#include "sys/cgroup.h"
#include "sys/packet.h"
#include "sys/seccomp.h"
#include "sys/tree.h"
#include "wire/hand.h"
#include "wire/launcher.h"

namespace glovebox::hand {

namespace {

using wire::BoxStage;
using wire::LauncherType;

constexpr std::size_t kMaxEngines =
    4;  // the one there is, the one that replaces it, and those of a test

class Launcher {
 public:
  Launcher(Fd listener, Fd signals, BoxMaker maker)
      : listener_(std::move(listener)), signals_(std::move(signals)), maker_(std::move(maker)) {}

  int serve() {
    while (!retired_ && !done()) {
      std::vector<pollfd> wait{{listener_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      for (auto& engine : engines_) wait.push_back({engine.get(), POLLIN, 0});
      const std::size_t first_gate = wait.size();
      std::vector<std::string> launching;
      for (auto& [id, box] : boxes_)
        if (box.stage == BoxStage::launching) {
          wait.push_back({box.gate.get(), POLLIN, 0});
          launching.push_back(id);
        }
      if (::poll(wait.data(), wait.size(), -1) < 0) {
        if (errno == EINTR) continue;
        log::error("launcher.poll", {{"error", errno_name(errno)}});
        return 1;
      }
      // Gates first: an answer that waits is a create that waits.
      for (std::size_t i = first_gate; i < wait.size(); ++i)
        if (wait[i].revents) finish_launch(launching[i - first_gate]);
      if (wait[1].revents) reap();
      std::vector<int> lost;
      for (std::size_t i = 2; i < first_gate; ++i)
        if (wait[i].revents && !hear(wait[i].fd)) lost.push_back(wait[i].fd);
      std::erase_if(engines_, [&](const Fd& fd) {
        return std::find(lost.begin(), lost.end(), fd.get()) != lost.end();
      });
      if (wait[0].revents) accept();
    }
    return 0;
  }

 private:
  struct Box {
    BoxStage stage = BoxStage::blank;
    std::uint32_t base = 0;
    wire::BoxLimits limits;  // as prepared
    pid_t pid = 0;
    int wait_status = 0;
    bool spare = false;
    Fd gate;          // to the child, until it runs
    int engine = -1;  // who asked for the launch
    std::uint32_t seq = 0;
  };

  // No engine listens, and nothing is left to be the parent of. (A new one has not been called
  // yet.)
  bool done() const {
    return engines_.empty() && !boxes_.empty() && std::ranges::all_of(boxes_, [](const auto& box) {
             return box.second.stage == BoxStage::exited;
           });
  }

  void accept() {
    Fd engine(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (engine && engines_.size() < kMaxEngines) engines_.push_back(std::move(engine));
  }

  // An engine that does not read is not waited for: what it misses it learns from `list`.
  void say(int engine, LauncherType type, std::uint32_t seq, std::string payload = {}) {
    (void)sys::send_packet(engine,
                           wire::encode(wire::LauncherMessage{type, seq, std::move(payload)}), {},
                           MSG_DONTWAIT);
  }
  void answer(int engine, std::uint32_t seq, const Result<void>& result) {
    if (result) {
      say(engine, LauncherType::done, seq);
    } else {
      say(engine, LauncherType::failed, seq, wire::encode_error(result.error()));
    }
  }

  // One message of an engine. False: it is gone, or speaks nonsense.
  bool hear(int engine) {
    auto packet = sys::receive_packet(engine, wire::kLauncherMessage, 1);
    if (!packet || packet->bytes.empty()) return false;
    auto message = wire::decode_launcher(packet->bytes);
    if (!message) {
      log::error("launcher.message", {{"error", message.error().what}});
      return false;
    }
    const auto seq = message->seq;
    switch (message->type) {
      case LauncherType::prepare: answer(engine, seq, prepare(message->payload)); return true;
      case LauncherType::launch:
        if (auto begun = launch(engine, seq, message->payload, std::move(packet->fds)); !begun)
          answer(engine, seq, begun);
        return true;
      case LauncherType::list:
        for (auto& [id, box] : boxes_)
          say(engine, LauncherType::box, seq, wire::encode(note(id, box)));
        say(engine, LauncherType::done, seq);
        return true;
      case LauncherType::forget: answer(engine, seq, forget(message->payload)); return true;
      case LauncherType::retire:
        say(engine, LauncherType::done, seq);
        retired_ = true;
        return true;
      case LauncherType::done:
      case LauncherType::failed:
      case LauncherType::launched:
      case LauncherType::box:
      case LauncherType::exited: break;
    }
    return false;
  }

  Result<void> prepare(std::string_view payload) {
    TRY(plan, wire::decode_prepare(payload));
    if (boxes_.contains(plan.id)) return Error{Code::conflict, str("box ", plan.id, " exists")};
    TRY(made, maker_.make_blank(plan), "blank ", plan.id);
    Box& box = boxes_[plan.id];
    box.base = plan.base;
    box.limits = plan.terms.limits;
    box.spare = plan.spare;
    box.pid = made.pid;
    box.gate = std::move(made.gate);
    return ok;
  }

  Result<void> launch(int engine, std::uint32_t seq, std::string_view payload,
                      std::vector<Fd> fds) {
    TRY(plan, wire::decode_launch(payload));
    auto found = boxes_.find(plan.id);
    if (found == boxes_.end() || found->second.stage != BoxStage::blank)
      return Error{Code::conflict, str("no blank ", plan.id)};
    if (fds.size() != 1) return Error{Code::invalid, "a launch brings the hand's socket"};
    Box& box = found->second;
    if (plan.terms.limits != box.limits)
      TRY_DO(maker_.set_limits(plan.id, plan.terms.limits), "limits of ", plan.id);
    TRY_DO(sys::send_packet(box.gate.get(), payload, {fds[0].get()}, 0), "wake blank ", plan.id);
    box.stage = BoxStage::launching;
    box.engine = engine;
    box.seq = seq;
    return ok;
  }

  void finish_launch(const std::string& id) {
    Box& box = boxes_[id];
    auto packet = sys::receive_packet(box.gate.get(), wire::kLauncherMessage, 0);
    bool started = packet && packet->bytes == "running";
    box.gate.reset();
    if (started) {
      box.stage = BoxStage::running;
      say(box.engine, LauncherType::launched, box.seq,
          wire::Writer().u32(static_cast<std::uint32_t>(box.pid)).take());
      return;
    }
    std::string why =
        packet && !packet->bytes.empty() ? packet->bytes : "the box's first process died";
    say(box.engine, LauncherType::failed, box.seq, wire::encode_error(Error{Code::internal, why}));
    box.stage = BoxStage::exited;
    ::kill(box.pid, SIGKILL);
  }

  void reap() {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) > 0) {
    }
    for (;;) {
      siginfo_t ended{};
      // Looked at first and reaped last: until then its pid can mean nobody else.
      if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == 0) return;
      auto found = std::find_if(boxes_.begin(), boxes_.end(), [&](const auto& entry) {
        return entry.second.pid == ended.si_pid;
      });
      if (found != boxes_.end() && found->second.stage == BoxStage::launching)
        finish_launch(found->first);
      int status = 0;
      ::waitpid(ended.si_pid, &status, 0);
      if (found == boxes_.end()) continue;
      auto& [id, box] = *found;
      box.stage = BoxStage::exited;
      box.wait_status = status;
      box.pid = 0;
      for (auto& engine : engines_)
        say(engine.get(), LauncherType::exited, 0, wire::encode(note(id, box)));
    }
  }

  Result<void> forget(const std::string& id) {
    auto box = boxes_.find(id);
    if (box == boxes_.end()) return ok;
    // A blank nobody wants any more ends when its gate closes, and is reaped as nobody's.
    if (box->second.stage == BoxStage::blank || box->second.stage == BoxStage::exited) {
      boxes_.erase(box);
      return ok;
    }
    return Error{Code::conflict, str("box ", id, " runs")};
  }

  static wire::BoxNote note(const std::string& id, const Box& box) {
    return {id,       box.stage, box.base, static_cast<std::uint32_t>(box.pid), box.wait_status,
            box.spare};
  }

  Fd listener_, signals_;
  BoxMaker maker_;
  std::vector<Fd> engines_;
  std::map<std::string, Box> boxes_;
  bool retired_ = false;
};

Result<Launcher> set_up(Fd listener, const std::string& state_dir, const std::string& instance,
                        std::span<char> command_line) {
  // Boxes are to see the same limits whatever started us.
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::umask(0);
  Fd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return sys_error("signalfd");
  TRY(filter, sys::tenant_filter(), "system call filter");
  TRY(roots, sys::find_cgroups(), "control groups");
  TRY_DO(sys::enter_launcher_root({state_dir, roots.unified, roots.memory, roots.pids, roots.cpu}),
         "launcher's root");
  roots.unified = "/cg/unified";
  for (auto [place, name] :
       {std::pair{&roots.memory, "/cg/memory"}, {&roots.pids, "/cg/pids"}, {&roots.cpu, "/cg/cpu"}})
    if (!place->empty()) *place = name;
  if (::prctl(PR_SET_DUMPABLE, 0) < 0) return sys_error("not dumpable");
  BoxMaker maker(std::move(roots), "glovebox-" + instance, std::move(filter), command_line);
  return Launcher(std::move(listener), std::move(signals), std::move(maker));
}

}  // namespace

int launcher_main(int argc, char** argv) {
  std::string state_dir, instance;
  int socket = -1;
  for (int i = 2; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i], value = argv[i + 1];
    if (flag == "--socket-fd") socket = parse_int<int>(value).value_or(-1);
    if (flag == "--state-dir") state_dir = value;
    if (flag == "--instance") instance = value;
  }
  if (socket < 0 || state_dir.empty() || instance.empty()) {
    log::error("launcher.usage", {{"need", "--socket-fd N --state-dir DIR --instance ID"}});
    return 2;
  }
  log::set_part("launcher");
  char* end = argv[argc - 1] + std::strlen(argv[argc - 1]);
  std::span<char> command_line(argv[0], static_cast<std::size_t>(end - argv[0]));
  ::prctl(PR_SET_NAME, "glovebox-launch");
  auto launcher = set_up(Fd(socket), state_dir, instance, command_line);
  if (!launcher) {
    log::error("launcher.start", {{"error", launcher.error().what}});
    return 1;
  }
  return launcher->serve();
}

}  // namespace glovebox::hand
