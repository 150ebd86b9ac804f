// The program `glovebox`: one binary, all subcommands; `glovebox help` lists them.
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "app/commands.h"
#include "app/config.h"
#include "app/up.h"
#include "base/log.h"

int main(int argc, char** argv) {
  using namespace glovebox;
  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    cli::Context context{.env = cli::process_environment(),
                         .configured_state = app::configured_state,
                         .ensure_started = app::ensure_started};
    // A client's stderr is for people, unless they ask; parts turn their logs on.
    if (!context.variable("GLOVEBOX_LOG")) log::set_level(log::Level::off);
    return cli::run_program(app::all_commands(), std::move(context), words, cli::Output::of_process,
                            ::isatty(STDOUT_FILENO));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glovebox: %s\n", error.what());
    return 1;
  }
}
