#include "wire/token.h"

#include <algorithm>
#include <cassert>

#include "wire/bytes.h"
#include "wire/mac.h"

namespace glovebox::wire {

namespace {

// A token is "gb1." payload "." MAC, both base64url. The MAC is over kPurpose and the payload, so
// that nothing else that may ever be signed with this key can pass for a token.
constexpr std::string_view kPrefix = "gb1.";
constexpr std::string_view kPurpose = "glovebox capability 1\n";
constexpr std::size_t kTokenBytes = 4096;
constexpr std::size_t kFieldBytes = 256, kVerbs = 64;

std::string mac_of(std::string_view payload, const Secret& key) {
  return hmac_sha256(str(kPurpose, payload), key);
}

Result<Capability> decode(std::string_view payload) {
  Reader reader(payload);
  Capability capability;
  TRY(instance, reader.text(kFieldBytes));
  TRY(box, reader.text(kFieldBytes));
  TRY(generation, reader.u64());
  TRY(verbs, reader.list(kVerbs, kFieldBytes));
  TRY(expires, reader.i64());
  TRY_DO(reader.done());
  return Capability{std::move(instance), std::move(box), generation, std::move(verbs), expires};
}

}  // namespace

std::string sign(const Capability& capability, const Secret& key) {
  assert(!key.empty());
  std::string payload = Writer()
                            .text(capability.instance)
                            .text(capability.box)
                            .u64(capability.generation)
                            .list(capability.verbs)
                            .i64(capability.expires_ms)
                            .take();
  return str(kPrefix, base64url(payload), '.', base64url(mac_of(payload, key)));
}

Result<Capability> verify(std::string_view token, const Secret& key, std::string_view instance,
                          std::int64_t now_ms) {
  const Error refused{Code::unauthenticated, "the token is not valid here and now",
                      "INVALID_TOKEN"};
  if (key.empty() || token.size() > kTokenBytes || !token.starts_with(kPrefix)) return refused;
  token.remove_prefix(kPrefix.size());
  std::size_t dot = token.find('.');
  if (dot == token.npos) return refused;
  auto payload = unbase64url(token.substr(0, dot));
  auto mac = unbase64url(token.substr(dot + 1));
  // Nothing of the payload is looked at before its MAC is known to be ours.
  if (!payload || !mac || !equal_constant_time(*mac, mac_of(*payload, key))) return refused;
  auto capability = decode(*payload);
  if (!capability || capability->instance != instance || capability->expires_ms <= now_ms)
    return refused;
  return capability;
}

bool allows(const Capability& capability, std::string_view box, std::uint64_t generation,
            std::string_view verb) {
  return capability.box == box && capability.generation == generation &&
         std::ranges::find(capability.verbs, verb) != capability.verbs.end();
}

}  // namespace glovebox::wire
