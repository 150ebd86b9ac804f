#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cmath>

#include "cli/blocked_signals.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/event_text.h"
#include "cli/exec_frames.h"
#include "cli/exec_request.h"
#include "cli/json_text.h"
#include "net/task.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

using Steady = std::chrono::steady_clock;
using http::WebSocket;

constexpr std::size_t kMostBranches = 128, kLastWords = 4096;
constexpr Millis kUsualLimit = std::chrono::minutes(10);

// One command in a copy of its own. It has succeeded or it has not; there is no third.
struct Branch {
  std::string command, hello, box, said;
  std::shared_ptr<http::Client> http;
  std::string failure = "interrupted";  // "": it succeeded
  double seconds = 0;                   // from the beginning of all, the copying too
};

struct Trial {
  std::vector<Branch> branches;
  const Steady::time_point begun = Steady::now();
  int signal = 0;  // that ended it before all had ended: then nobody has won
};

std::string failure_of(const Exited& exited) {
  if (exited.timed_out) return "out of time";
  if (exited.oom_killed) return "out of memory";
  if (exited.signal) return str("signal ", exited.signal);
  return exited.exit_code ? str("exit code ", exited.exit_code) : "";
}

void keep_last(std::string& said, std::string_view bytes) {
  said += bytes;
  if (said.size() > kLastWords) said.erase(0, said.size() - kLastWords);
}

Task<Exited> run_in(Branch* branch) {
  CO_TRY(socket, co_await branch->http->websocket("/api/v1/exec/ws"));
  CO_TRY_DO(co_await socket->write(WebSocket::Kind::text, branch->hello));
  for (;;) {
    CO_TRY(message, co_await socket->read());
    if (message.kind == WebSocket::Kind::text) co_return api_error(400, message.data);
    CO_TRY(event, decode_exec_event(std::move(message.data)));
    if (auto* out = std::get_if<StdoutBytes>(&event)) keep_last(branch->said, out->bytes);
    if (auto* err = std::get_if<StderrBytes>(&event)) keep_last(branch->said, err->bytes);
    if (auto* exited = std::get_if<Exited>(&event)) co_return *exited;
  }
}

Task<void> follow(Branch* branch, const Trial* trial) {
  auto exited = co_await run_in(branch);
  if (!exited && exited.error().code == Code::cancelled) co_return std::move(exited.error());
  branch->failure = exited ? failure_of(*exited) : exited.error().what;
  branch->seconds = std::chrono::duration<double>(Steady::now() - trial->begun).count();
  co_return ok;
}

Task<void> all_ended(net::TaskGroup* running) {
  while (running->size() > 0) CO_TRY_DO(co_await net::sleep(Millis(5)));
  co_return ok;
}

Task<void> interrupted(Trial* trial) {
  CO_TRY(number, co_await net::next_signal({SIGINT, SIGTERM, SIGHUP}));
  trial->signal = number;
  co_return ok;
}

Task<void> run_all(net::Loop& loop, Trial& trial) {
  net::TaskGroup running(loop);
  for (Branch& branch : trial.branches)
    if (branch.http) running.spawn("branch", follow(&branch, &trial));
  auto ended = co_await net::first_of(all_ended(&running), interrupted(&trial));
  (void)co_await running.finish(net::kForever);
  co_return ended;
}

// Who has a copy is known before anything is run in one.
Result<void> copy(EngineClient& engine, const std::string& sandbox, Trial& trial) {
  TRY(answer, engine.request("POST", str("/sandboxes/", http::encode_path(sandbox),
                                         "/copy?times=", trial.branches.size())));
  const json::value* copies = answer.if_contains("sandboxes");
  if (!copies || !copies->is_array())
    return Error{Code::internal, "the engine's answer has no 'sandboxes'"};
  std::size_t at = 0;
  for (const json::value& one : copies->get_array()) {
    if (at == trial.branches.size() || !one.is_object()) break;
    Branch& branch = trial.branches[at++];
    if (text_of(one.get_object(), "status") == "failed")
      branch.failure = "no copy: " + text_of(one.get_object(), "error_details");
    else
      branch.box = text_of(one.get_object(), "sandbox_id");
  }
  for (Branch& branch : trial.branches) {
    if (branch.box.empty()) continue;
    auto box = engine.box(branch.box);
    if (box)
      branch.http = std::move(box->http);
    else
      branch.failure = box.error().what;
  }
  for (; at < trial.branches.size(); ++at) trial.branches[at].failure = "no copy was made";
  return ok;
}

const Branch* winner_of(const Trial& trial) {
  const Branch* best = nullptr;
  if (trial.signal) return best;
  for (const Branch& branch : trial.branches)
    if (branch.failure.empty() && (!best || branch.seconds < best->seconds)) best = &branch;
  return best;
}

json::array told(const Trial& trial, const Branch* winner, bool keep) {
  json::array list;
  for (const Branch& branch : trial.branches) {
    json::object one{{"command", valid_utf8(branch.command)},
                     {"succeeded", branch.failure.empty()},
                     {"failure", nullptr},
                     {"seconds", branch.seconds},
                     {"winner", &branch == winner},
                     {"sandbox_id", nullptr},
                     {"output", valid_utf8(branch.said)}};
    if (!branch.failure.empty()) one["failure"] = branch.failure;
    if (keep && &branch == winner) one["sandbox_id"] = branch.box;
    list.push_back(std::move(one));
  }
  return list;
}

// What each said, in the order of the commands.
void tell_outputs(const Trial& trial, Output& out) {
  for (const Branch& branch : trial.branches) {
    std::string_view said = branch.said;
    while (said.ends_with('\n')) said.remove_suffix(1);
    if (said.empty()) continue;
    const bool cut = branch.said.size() >= kLastWords;
    out.text(str("\n--- ", printable(branch.command), cut ? "  (its last 4 KiB)" : "", "\n",
                 printable_lines(said, ""), "\n"));
  }
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY(sandbox, args.positional("NAME"));
  TRY_DO(args.done());
  TRY(limit, args.duration("--timeout", kUsualLimit));
  if (limit <= Millis(0)) return usage_error("--timeout must be longer than nothing");
  Trial trial;
  for (const std::string& command : args.options("--run")) {
    ExecRequest request{.command = {"/bin/sh", "-c", command}};
    request.stdin_open = false;
    request.timeout = limit;
    TRY(hello, encode(request));
    trial.branches.push_back({.command = command, .hello = std::move(hello)});
  }
  if (trial.branches.empty() || trial.branches.size() > kMostBranches)
    return usage_error(str("give 1 to ", kMostBranches, " commands: --run=COMMAND"));
  TRY(engine, EngineClient::open(context));
  BlockedSignals blocked({SIGINT, SIGTERM, SIGHUP});
  TRY_DO(copy(*engine, sandbox, trial), "copy ", sandbox);
  auto ran = net::run(engine->loop(), run_all(engine->loop(), trial));
  const Branch* winner = ran ? winner_of(trial) : nullptr;
  const bool keep = args.flag("--keep");
  for (const Branch& branch : trial.branches)
    if (!branch.box.empty() && !(keep && &branch == winner))
      if (auto gone = engine->remove(branch.box); !gone)
        out.note(str("glovebox: remove ", branch.box, ": ", gone.error().what));
  if (!ran) return engine->explain(std::move(ran.error()));
  out.list(told(trial, winner, keep),
           {{"COMMAND", [](auto& r) { return printable(text_of(r, "command")); }},
            {"SUCCEEDED",
             [](auto& r) {
               return text_of(r, "winner") == "true"      ? "yes, first"
                      : text_of(r, "succeeded") == "true" ? "yes"
                                                          : "no";
             }},
            {"FAILURE", [](auto& r) { return printable(text_of(r, "failure")); }},
            {"SECONDS",
             [](auto& r) { return str(std::round(r.at("seconds").as_double() * 100) / 100); }},
            {"KEPT", [](auto& r) { return text_of(r, "sandbox_id"); }}});
  if (!out.json()) tell_outputs(trial, out);
  if (trial.signal) return 128 + trial.signal;
  if (!winner) out.note("glovebox: none succeeded");
  return winner ? 0 : 1;
}

}  // namespace

const Command kSandboxTry{
    .name = "sandbox try",
    .usage = "sandbox try NAME --run=COMMAND... [--timeout=TIME] [--keep]",
    .help =
        "Run commands at the same time, each in a copy of a sandbox, and say which succeeded.\n"
        "\n"
        "  --run=COMMAND   for the copy's /bin/sh; again for each branch, up to 128\n"
        "  --timeout=TIME  of each (10m)\n"
        "  --keep          do not remove the copy of the winner\n"
        "A branch has succeeded when its command ends with 0; the winner is the one of them that "
        "was\n"
        "first, the copying counted. Exit code 1: none has; after a signal, such as Ctrl-C,\n"
        "128 + its number, and nobody has won. The copies are removed then too; should this be\n"
        "killed they go when they have been idle, as sandboxes without a name do.\n"
        "What each said last, up to 4 KiB, stands below the table; it is 'output' of --json.",
    .run = run};

}  // namespace glovebox::cli
