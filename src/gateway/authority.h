// A local certificate authority: for the names of one ingress and nothing else. It says so itself
// (name constraints), so whoever trusts it trusts it with these names alone, also where its key is
// stolen. All certificates here are PEM, with their key before them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"

namespace glovebox::gateway {

inline constexpr std::int64_t kDay = 86'400;
inline constexpr std::int64_t kAuthorityDays = 3650, kLeafDays = 90;

// Who trusts an authority has its certificate somewhere: a new one is made where there is none for
// `domain`, and one that ends soon gets its time prolonged with the key it has.
Result<Secret> make_authority(std::string_view domain, std::int64_t now_secs);
Result<Secret> prolong_authority(const Secret& authority, std::string_view domain,
                                 std::int64_t now_secs);

// A certificate of a server for `domain`, all names right below it, and this machine's own.
Result<Secret> issue_leaf(const Secret& authority, std::string_view domain, std::int64_t now_secs);

struct CertificateFacts {
  std::int64_t not_before = 0, not_after = 0;  // seconds since 1970
  std::string subject, sha256;                 // in hex, "AB:CD:…" as browsers show it
};
Result<CertificateFacts> facts_of(std::string_view pem);

// Whether the (first) certificate is for `domain` and the names right below it: one of a server for
// both, one of an authority allowed to sign for them.
bool is_for(std::string_view pem, std::string_view domain);
bool may_sign_for(std::string_view pem, std::string_view domain);
bool is_signed_by(std::string_view pem, std::string_view authority);

// The certificate alone, without what stands around it: to be shown.
Result<std::string> certificate_of(std::string_view pem);

}  // namespace glovebox::gateway
