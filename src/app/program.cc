#include "app/program.h"

#include <unistd.h>

namespace glovebox::app {

Result<std::string> own_program() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n < 0) return sys_error("/proc/self/exe");
  std::string program(path, static_cast<std::size_t>(n));
  // Replaced by an upgrade since we started: the new one has the name now.
  constexpr std::string_view kDeleted = " (deleted)";
  if (program.ends_with(kDeleted)) program.resize(program.size() - kDeleted.size());
  return program;
}

Result<std::string> unpack_program() {
  TRY(own, own_program());
  return own.substr(0, own.rfind('/')) + "/glovebox-unpack";
}

Result<std::string> hand_program(const Config& config) {
  std::string path = config.engine.hand;
  if (path.empty()) {
    TRY(own, own_program());
    path = own.substr(0, own.rfind('/')) + "/glovebox-hand";
  }
  if (::access(path.c_str(), X_OK) < 0)
    return sys_error("the hand's program " + path + " (engine.hand)");
  return path;
}

}  // namespace glovebox::app
