#include "cli/completion.h"

#include "app/commands.h"

namespace glovebox::app {

static Result<int> run(cli::Context&, cli::Args& args, cli::Output& out) {
  TRY(shell, args.positional("bash|zsh"));
  TRY_DO(args.done());
  if (shell != "bash" && shell != "zsh")
    return cli::usage_error(str("there is no completion for '", shell, "': bash or zsh"));
  out.text(shell == "bash" ? cli::bash_completion(all_commands())
                           : cli::zsh_completion(all_commands()));
  return 0;
}

const cli::Command kCompletion{
    .name = "completion",
    .usage = "completion bash|zsh",
    .help =
        "Print the completion script of a shell.\n"
        "\n"
        "bash: source <(glovebox completion bash)   zsh: source <(glovebox completion zsh)\n"
        "'make install' puts both where the shells look for them.",
    .run = run};

}  // namespace glovebox::app
