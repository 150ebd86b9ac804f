#include "app/ingress_tls.h"

#include <algorithm>

#include "base/log.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

constexpr Millis kLookAgain = 1h;

Result<gateway::WebhookGate::Ticket> check_delivery(gateway::WebhookGate& gate,
                                                    const wire::IngressBox& box,
                                                    const wire::IngressPort& port,
                                                    const http::Headers& headers,
                                                    std::string_view body) {
  if (port.verify != gateway::kStandardWebhooks)
    return Error{Code::unsupported, str("this port asks for '", port.verify,
                                        "', which nobody "
                                        "here can check")};
  return gate.admit(str(box.id, ' ', port.port), port.secrets, headers, body);
}

}  // namespace

Result<std::shared_ptr<IngressTls>> IngressTls::open(Daemon* daemon) {
  TRY(certificates,
      gateway::Certificates::open(daemon->directory(), lower(daemon->config.ingress.domain)));
  TRY(gate, gateway::WebhookGate::open(daemon->directory() + "/deliveries"));
  std::shared_ptr<IngressTls> made(
      new IngressTls(daemon, std::move(certificates), std::move(gate)));
  TRY_DO(made->take_operators(), "ingress.certificate");
  made->look();
  return made;
}

void IngressTls::hook_into(const std::shared_ptr<IngressTls>& self,
                           gateway::IngressOptions& options) {
  options.tls = [self] { return self->certificates_.shown(); };
  options.admit = redirect_to_tls;
  options.verify = [self](const wire::IngressBox& box, const wire::IngressPort& port,
                          const http::Headers& headers,
                          std::string_view body) -> Result<std::function<void()>> {
    TRY(ticket, check_delivery(self->gate_, box, port, headers, body));
    return [self, ticket] { self->gate_.refused(ticket); };
  };
}

Result<void> IngressTls::take_operators() {
  // It came over a channel of lines: see Supervisor.
  auto pem = unbase64url(daemon_->keys["certificate"].reveal());
  if (!pem) return Error{Code::invalid, "it came garbled"};
  return certificates_.use(Secret(std::move(*pem)));
}

// One that does not work, half of a pair that is being exchanged for one, leaves the old.
void IngressTls::keys_changed() {
  auto used = take_operators();
  if (!used) log::warn("ingress.certificate", {{"error", used.error().what}});
  look();
}

void IngressTls::look() {
  std::string now = certificates_.complaint();
  if (now == trouble_) return;
  trouble_ = now;
  if (!now.empty()) log::warn("ingress.certificate", {{"error", now}});
  (void)daemon_->channel.send("trouble " + now);
}

Task<void> IngressTls::keep(std::shared_ptr<IngressTls> self) {
  for (;;) {
    CO_TRY_DO(co_await net::sleep(kLookAgain));
    if (auto renewed = self->certificates_.renew(); !renewed)
      log::error("ingress.certificate", {{"error", renewed.error().what}});
    self->look();
  }
}

std::optional<http::Response> redirect_to_tls(const gateway::IngressClient& client,
                                              const http::Request& request) {
  if (client.secure || client.loopback) return std::nullopt;
  std::string host(request.headers.get("Host").value_or(""));
  // What is no host at all is answered as such.
  bool plain = !host.empty() && std::ranges::all_of(host, [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
  });
  if (!plain) return std::nullopt;
  http::Response response = http::text(308, "this is to be had over https\n");
  response.headers.set("Location", str("https://", host, request.path,
                                       request.query.empty() ? "" : "?", request.query));
  // The request was readable by everybody on the way: whoever sends one again should not.
  response.headers.set("Connection", "close");
  return response;
}

}  // namespace glovebox::app
