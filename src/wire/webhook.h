// Standard Webhooks: how a delivery is signed, and how a receiver tells a real one from all others.
// The signature is over id, time and the raw body: whoever checks does so before anything is
// parsed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/secret.h"

namespace glovebox::wire {

constexpr std::int64_t kWebhookTolerance = 300;  // seconds a delivery may be old, or ahead

struct WebhookHeaders {  // webhook-id, webhook-timestamp, webhook-signature
  std::string_view id, timestamp, signature;
};

std::string new_webhook_secret();  // "whsec_" and the base64 of 32 random bytes
// The key in it: 24 to 64 bytes, as the specification says.
Result<Secret> webhook_key(std::string_view secret);
// "v1,<base64>"
std::string sign_webhook(const Secret& key, std::string_view id, std::int64_t unix_secs,
                         std::string_view body);
// Any signature of the header by any of `keys` is enough: that is how keys are exchanged.
// Code::unauthenticated otherwise, and for one that is too old or from the future.
Result<void> verify_webhook(std::span<const Secret> keys, const WebhookHeaders& headers,
                            std::string_view body, std::int64_t now_secs);

}  // namespace glovebox::wire
