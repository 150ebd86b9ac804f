#include "gateway/webhook_gate.h"

#include <algorithm>

#include "wire/webhook.h"

namespace glovebox::gateway {

namespace {

// One that is signed ahead of our clock may come again until it is too old.
constexpr Seconds kWindow{2 * wire::kWebhookTolerance + 10};

// "" where it is missing or stands there twice: what is checked must be what is meant.
std::string_view only(const http::Headers& headers, std::string_view name) {
  auto same = [&](const auto& header) { return lower(header.first) == name; };
  return std::ranges::count_if(headers.all(), same) == 1 ? *headers.get(name) : "";
}

}  // namespace

Result<WebhookGate> WebhookGate::open(std::string path, Clock& clock) {
  TRY(memory, ReplayMemory::open({.path = std::move(path), .window = kWindow}, clock));
  return WebhookGate(std::move(memory), clock);
}

Result<WebhookGate::Ticket> WebhookGate::admit(std::string_view port,
                                               std::span<const Secret> secrets,
                                               const http::Headers& headers,
                                               std::string_view body) {
  std::vector<Secret> keys;
  for (const Secret& secret : secrets) {
    TRY(key, wire::webhook_key(secret.reveal()));
    keys.push_back(std::move(key));
  }
  wire::WebhookHeaders signature{.id = only(headers, "webhook-id"),
                                 .timestamp = only(headers, "webhook-timestamp"),
                                 .signature = only(headers, "webhook-signature")};
  TRY_DO(wire::verify_webhook(keys, signature, body, clock_->unix_ms() / 1000));
  // Time belongs to it: a delivery that is tried again is signed again.
  Ticket ticket = ReplayMemory::key_of(str(port, '\n', signature.timestamp, '\n', signature.id));
  auto fresh = memory_.remember(ticket);
  if (fresh) return ticket;
  if (fresh.error().code == Code::conflict)
    return Error{Code::conflict, "webhook: this delivery was taken before", "WEBHOOK_REPLAYED"};
  return Error{Code::exhausted, "webhook: too many deliveries; try again later"};
}

}  // namespace glovebox::gateway
