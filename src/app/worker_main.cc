// The program `glovebox-worker`: `glovebox worker` and nothing else, in one file without shared
// libraries. The engine shows it to boxes whose worker runs inside.
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "app/commands.h"
#include "base/log.h"

int main(int argc, char** argv) {
  using namespace glovebox;
  static const cli::Command* const kCommands[] = {&app::kWorkerPoll, &app::kWorkerRun,
                                                  &app::kReceive};
  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    cli::Context context{.env = cli::process_environment()};
    if (!context.variable("GLOVEBOX_LOG")) log::set_level(log::Level::off);
    return cli::run_program(kCommands, std::move(context), words, cli::Output::of_process,
                            ::isatty(STDOUT_FILENO));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glovebox-worker: %s\n", error.what());
    return 1;
  }
}
