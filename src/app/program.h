// Where we are installed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"

namespace glovebox::app {

// In the resolver's directory: where it takes descriptors from the engine.
inline constexpr std::string_view kResolverSocket = "intake.sock";

Result<std::string> own_program();  // the path of this binary
// glovebox-unpack, beside us. Where it is missing sessions go without their skills.
Result<std::string> unpack_program();
// Parts have users of their own, who may not get to where we are installed (a checkout below
// /root): what they start is copied to where they can, and found there.
Result<void> offer_programs(const std::string& state);
std::string offered_unpack_program(const std::string& state);
Result<std::string> hand_program(const Config& config);  // engine.hand, or the one beside us

// What a worker inside of a box consists of: the worker first. Empty: it is not installed.
std::vector<std::string> inside_programs(const std::string& hand);
// Of the uplink, in its directory: where the engine hands listeners over.
inline constexpr std::string_view kUplinkSocket = "engine.sock";
// Of the ingress, in its directory: where the engine comes to answer it.
inline constexpr std::string_view kIngressSocket = "engine.sock";

}  // namespace glovebox::app
