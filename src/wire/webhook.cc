#include "wire/webhook.h"

#include <openssl/evp.h>

#include <cassert>
#include <cstdlib>

#include "base/random.h"
#include "wire/mac.h"

namespace glovebox::wire {

namespace {

constexpr std::string_view kPrefix = "whsec_", kVersion = "v1,";
constexpr std::size_t kMinKey = 24, kMaxKey = 64, kMaxSecret = 256;
constexpr std::size_t kMaxId = 256, kMaxSignatures = 4096;

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                             reinterpret_cast<const unsigned char*>(bytes.data()),
                             static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// Secrets come from consoles and configuration files: with padding or without.
std::optional<std::string> unbase64(std::string_view given) {
  std::string text(given.substr(0, given.find_last_not_of('=') + 1));
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return unbase64url(text);
}

}  // namespace

std::string new_webhook_secret() { return str(kPrefix, base64(random_bytes(32))); }

Result<Secret> webhook_key(std::string_view secret) {
  const Error wrong{Code::invalid, "a webhook secret is whsec_ and the base64 of 24 to 64 bytes"};
  if (!secret.starts_with(kPrefix) || secret.size() > kMaxSecret) return wrong;
  auto key = unbase64(secret.substr(kPrefix.size()));
  if (!key || key->size() < kMinKey || key->size() > kMaxKey) return wrong;
  return Secret(std::move(*key));
}

std::string sign_webhook(const Secret& key, std::string_view id, std::int64_t unix_secs,
                         std::string_view body) {
  return str(kVersion, base64(hmac_sha256(str(id, '.', unix_secs, '.', body), key)));
}

Result<void> verify_webhook(std::span<const Secret> keys, const WebhookHeaders& headers,
                            std::string_view body, std::int64_t now_secs) {
  auto refused = [](std::string_view why) {
    return Error{Code::unauthenticated, str("webhook: ", why)};
  };
  if (headers.id.empty() || headers.id.size() > kMaxId) return refused("no webhook-id");
  auto time = parse_int<std::int64_t>(headers.timestamp);
  if (!time || str(*time) != headers.timestamp) return refused("no webhook-timestamp");
  if (headers.signature.size() > kMaxSignatures) return refused("webhook-signature: too long");
  bool genuine = false;
  for (const Secret& key : keys) {
    const Secret expected(sign_webhook(key, headers.id, *time, body));
    for (std::string_view one : split(headers.signature, ' '))
      genuine = expected.equals(one) || genuine;
  }
  if (!genuine) return refused("not signed with this endpoint's secret");
  // After the signature: only who has the secret learns what our clock says.
  if (*time < now_secs - kWebhookTolerance) return refused("too old");
  if (*time > now_secs + kWebhookTolerance) return refused("from the future");
  return ok;
}

}  // namespace glovebox::wire
