#include "app/program.h"

#include <unistd.h>

#include "sys/tree.h"

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

std::string offered_unpack_program(const std::string& state) {
  return state + "/run/glovebox-unpack";
}

Result<void> offer_programs(const std::string& state) {
  constexpr std::size_t kLimit = 64 << 20;
  TRY(beside, unpack_program());
  auto program = sys::read_file(beside, kLimit);
  if (!program && program.error().code == Code::not_found) return ok;
  if (!program) return std::move(program.error());
  return sys::write_file_atomic(offered_unpack_program(state), *program, 0755);
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

std::vector<std::string> inside_programs(const std::string& hand) {
  auto own = own_program();
  if (!own) return {};
  const std::string beside = own->substr(0, own->rfind('/'));
  std::vector<std::string> programs{beside + "/glovebox-worker", hand};
  if (::access(programs[0].c_str(), X_OK) < 0) return {};
  // Skills are taken apart by a program of their own, where there is one.
  if (std::string unpack = beside + "/glovebox-unpack"; ::access(unpack.c_str(), X_OK) == 0)
    programs.push_back(std::move(unpack));
  return programs;
}

}  // namespace glovebox::app
