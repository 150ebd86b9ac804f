#include <unistd.h>

#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/exec_request.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  if (auto extra = args.optional())
    return usage_error(
        str("put -- before the command: glovebox sandbox exec ", name, " -- ", *extra, " …"));
  if (args.rest().empty()) return usage_error("there is no command behind --");
  ExecRequest request{.command = args.rest(),
                      .env = args.options("--env"),
                      .user = args.option("--user").value_or(""),
                      .cwd = args.option("--cwd").value_or("")};
  request.stdin_open = !args.flag("-n");
  if (args.option("--timeout")) {
    TRY(timeout, args.duration("--timeout", Millis(0)));
    if (timeout <= Millis(0)) return usage_error("--timeout must be longer than nothing");
    request.timeout = timeout;
  }
  if (args.flag("-t")) {
    if (!::isatty(STDIN_FILENO)) return usage_error("-t needs a terminal as stdin");
    if (args.flag("-n")) return usage_error("-t and -n exclude each other");
    request.terminal = terminal_size(STDIN_FILENO);
    if (auto term = context.variable("TERM"))
      request.env.insert(request.env.begin(), "TERM=" + *term);
  }
  TRY(hello, encode(request));
  TRY(engine, EngineClient::open(context));
  auto exited = attach(*engine, name, {hello, request.terminal.has_value(), request.stdin_open});
  if (exited) return report_exit(*exited, out);
  Error error = std::move(exited.error()).with("exec in " + name);
  // What a shell says of a command that is not there, or is none.
  int code = error.tag == "COMMAND_NOT_FOUND"        ? 127
             : error.tag == "COMMAND_NOT_EXECUTABLE" ? 126
                                                     : 0;
  if (code == 0) return error;
  out.note("glovebox: " + error.what);
  return code;
}

const Command kSandboxExec{
    .name = "sandbox exec",
    .usage =
        "sandbox exec NAME [--user=USER] [--cwd=DIR] [--env=K=V]... [--timeout=TIME] [-t] [-n] -- "
        "COMMAND...",
    .help =
        "Run a command in a sandbox as if it ran here.\n"
        "\n"
        "Streams go both ways without loss, signals are forwarded, and the exit code is the "
        "command's\n"
        "own: 128 + the number of the signal that ended it, 127 if there is no such command, 4 "
        "after\n"
        "--timeout. In pipes:\n"
        "  tar -c . | glovebox sandbox exec box -- tar -x\n"
        "-t gives it this terminal; -n closes its stdin, for loops whose own stdin it must not "
        "eat.",
    .run = run};

}  // namespace glovebox::cli
