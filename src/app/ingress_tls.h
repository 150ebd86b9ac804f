// What the ingress's process knows of names and trust: which certificate is shown, who is sent to
// TLS, and which deliveries of webhooks are genuine.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "app/daemon.h"
#include "gateway/certificates.h"
#include "gateway/ingress.h"
#include "gateway/webhook_gate.h"

namespace glovebox::app {

class IngressTls {
 public:
  // Certificates in the part's directory, or the operator's (the key "certificate").
  static Result<std::shared_ptr<IngressTls>> open(Daemon* daemon);
  // The hooks of the ingress. `self` lives on in them.
  static void hook_into(const std::shared_ptr<IngressTls>& self, gateway::IngressOptions& options);
  // Until it is cancelled: renews what ends soon, and says what is wrong with the operator's.
  static Task<void> keep(std::shared_ptr<IngressTls> self);
  void keys_changed();

 private:
  IngressTls(Daemon* daemon, gateway::Certificates certificates, gateway::WebhookGate gate)
      : daemon_(daemon), certificates_(std::move(certificates)), gate_(std::move(gate)) {}
  Result<void> take_operators();
  void look();

  Daemon* daemon_;
  gateway::Certificates certificates_;
  gateway::WebhookGate gate_;
  std::string trouble_;
};

// A plain request from another machine goes to TLS at the same address; from this one it may stay.
std::optional<http::Response> redirect_to_tls(const gateway::IngressClient& client,
                                              const http::Request& request);

}  // namespace glovebox::app
