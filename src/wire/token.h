// Capability tokens: {instance, box and generation, verbs, expiry, MAC}. Everything narrower than a
// part's own key is one of these, used by ingress, uplink, in-box helpers and PTY sockets. A token
// says what it allows; it is no session and no identity.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/secret.h"

namespace glovebox::wire {

struct Capability {
  std::string instance;
  std::string box;  // empty: the instance itself
  std::uint64_t generation = 0;
  std::vector<std::string> verbs;  // "pty:3", "port:8080", …
  std::int64_t expires_ms = 0;     // unix
};

std::string sign(const Capability& capability, const Secret& key);
// Code::unauthenticated for anything that is not one of ours, expired, or of another instance: one
// text for all of them.
Result<Capability> verify(std::string_view token, const Secret& key, std::string_view instance,
                          std::int64_t now_ms);
bool allows(const Capability& capability, std::string_view box, std::uint64_t generation,
            std::string_view verb);

}  // namespace glovebox::wire
