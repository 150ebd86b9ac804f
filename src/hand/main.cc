// glovebox-hand: the program inside of every box, and the launcher that makes boxes.
#include <cstdio>
#include <string_view>

#include "base/log.h"
#include "hand/hand.h"
#include "hand/launcher.h"

namespace glovebox::hand {
namespace {

constexpr char kUsage[] =
    "usage: glovebox-hand serve --listen-fd N [--cwd DIR]   serve the hand protocol on a "
    "listening\n"
    "                                                       Unix socket, without a box around it\n"
    "       glovebox-hand launcher …                        make boxes (started by the engine)\n"
    "       glovebox-hand --version | --help\n";

int wrong_usage() {
  std::fputs(kUsage, stderr);
  return 2;
}

int serve_main(int argc, char** argv) {
  Config config;
  config.is_init = false;
  for (int i = 0; i + 1 < argc; i += 2) {
    std::string_view flag = argv[i], value = argv[i + 1];
    if (flag == "--listen-fd") {
      auto fd = parse_int<int>(value);
      if (!fd || *fd < 3) return wrong_usage();
      config.listener = Fd(*fd);
    } else if (flag == "--cwd") {
      config.cwd = value;
    } else {
      return wrong_usage();
    }
  }
  if (argc % 2 != 0 || !config.listener) return wrong_usage();
  for (char** entry = environ; *entry; ++entry) config.env.emplace_back(*entry);
  log::set_part("hand");
  return serve(std::move(config));
}

int main(int argc, char** argv) {
  std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "serve") return serve_main(argc - 2, argv + 2);
  if (command == "launcher") return launcher_main(argc, argv);
  if (command == "--version") {
    std::puts("glovebox-hand " GLOVEBOX_VERSION);
    return 0;
  }
  if (command == "--help") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  return wrong_usage();
}

}  // namespace
}  // namespace glovebox::hand

int main(int argc, char** argv) { return glovebox::hand::main(argc, argv); }
