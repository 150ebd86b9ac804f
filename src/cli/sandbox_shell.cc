#include <unistd.h>

#include "cli/attach.h"
#include "cli/commands.h"
#include "cli/exec_request.h"

namespace glovebox::cli {

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(name, args.positional("NAME"));
  TRY_DO(args.done());
  if (!::isatty(STDIN_FILENO))
    return usage_error(
        str("a shell needs a terminal; in a pipe use: glovebox sandbox exec ", name, " -- sh"));
  ExecRequest request;
  // The image decides which shells there are.
  request.command = {"/bin/sh", "-c",
                     "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l"};
  request.user = args.option("--user").value_or("");
  request.cwd = args.option("--cwd").value_or("");
  request.terminal = terminal_size(STDIN_FILENO);
  request.env.push_back("TERM=" + context.variable("TERM").value_or("xterm"));
  TRY(hello, encode(request));
  TRY(engine, EngineClient::open(context));
  TRY(exited, attach(*engine, name, {hello, true, true}), "shell in ", name);
  return report_exit(exited, out);
}

const Command kSandboxShell{.name = "sandbox shell",
                            .usage = "sandbox shell NAME [--user=USER] [--cwd=DIR]",
                            .help = "Open a shell in a sandbox, on this terminal.",
                            .run = run};

}  // namespace glovebox::cli
