// The parts of Glovebox, as the supervisor knows them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"

namespace glovebox::app {

struct PartSpec {
  enum class User { root, own };  // own: see users.h
  std::string name;     // also of its directory, its log and its section of the configuration
  std::string command;  // the internal subcommand that is the part
  User user = User::own;
  std::vector<std::string> keys;           // which of the instance's keys it is told; no others
  std::vector<std::string> optional_keys;  // told where there are any; never made
  // Those among them that it is told only where a box takes the work (Config's steward()).
  std::vector<std::string> steward_keys = {};
  std::vector<std::string> urls;    // the parts whose addresses it is told
  std::string& (*listen)(Config&);  // where it listens; "": nowhere
};

// In the order in which they start; they stop in the opposite one, so that each finds those it
// needs until its end.
std::span<const PartSpec> all_parts();
const PartSpec& part_named(std::string_view name);
// All, or those named; a name nobody knows is refused.
Result<std::vector<const PartSpec*>> pick_parts(const std::vector<std::string>& names);

// Whether it is told of that key, which is one of its own.
bool is_told(const PartSpec& part, std::string_view key, const Config& config);
// Whether work is taken from the queue by it, or through it.
bool takes_work(const PartSpec& part, const Config& config);

// What a part finds in its environment: this list and nothing else.
std::vector<std::string> part_environment(const Config& config, const PartSpec& part,
                                          const cli::Environment& env);

// Descriptors a part is born with.
inline constexpr int kListenerFd = 3, kChannelFd = 4;

}  // namespace glovebox::app
