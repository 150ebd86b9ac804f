#include "orchestrator/receiver.h"

#include <boost/json.hpp>

#include "base/log.h"
#include "base/metrics.h"
#include "net/task.h"
#include "runner/json.h"
#include "wire/webhook.h"

namespace glovebox::orchestrator {

namespace {

metrics::Counter taken("orchestrator_deliveries_total", "Deliveries of webhooks that were real.");
metrics::Counter turned_away("orchestrator_deliveries_refused_total",
                             "Deliveries of webhooks that were not.");

// Only ids travel in a delivery.
constexpr std::size_t kLargest = 64 * 1024;
// A sender tries the same event again for minutes. Later, or beyond that many, a second one costs a
// look into the queue.
constexpr std::int64_t kRememberMs = 15 * 60'000;
constexpr std::size_t kRemembered = 4096;
constexpr std::int64_t kTellEveryMs = 10'000;
constexpr std::string_view kStarted = "session.status_run_started";

std::string_view header(const http::Request& request, std::string_view name) {
  return request.headers.get(name).value_or("");
}

http::Response answer(std::string_view status) {
  return http::json(200, str(R"({"status":")", status, "\"}"));
}

Task<http::Response> healthz(http::Request) { co_return http::json(200, R"({"ok":true})"); }

}  // namespace

Receiver::Receiver(Keys keys, Hint hint, const Clock& clock)
    : keys_(std::move(keys)), hint_(std::move(hint)), clock_(clock) {}

void Receiver::set_keys(Keys keys) { keys_ = std::move(keys); }

Result<void> Receiver::check(const http::Request& request) const {
  if (!keys_) return ok;
  return wire::verify_webhook(*keys_,
                              {.id = header(request, "webhook-id"),
                               .timestamp = header(request, "webhook-timestamp"),
                               .signature = header(request, "webhook-signature")},
                              request.body, clock_.unix_ms() / 1000);
}

// Once a delivery is known to be real: what strangers send must not push it out.
void Receiver::forget_old() {
  const std::int64_t now = clock_.unix_ms();
  while (!order_.empty() &&
         (order_.size() >= kRemembered || order_.front().first < now - kRememberMs)) {
    seen_.erase(order_.front().second);
    order_.pop_front();
  }
}

void Receiver::remember(const std::string& id) {
  if (id.empty() || !seen_.insert(id).second) return;
  order_.emplace_back(clock_.unix_ms(), id);
}

void Receiver::tell_refusal(const Error& error) {
  ++counts_.refused;
  turned_away.add();
  const std::int64_t now = clock_.unix_ms();
  if (told_ms_ != 0 && now - told_ms_ < kTellEveryMs && now >= told_ms_) return;
  told_ms_ = now;
  log::warn("webhook.refused", {{"why", error.what}, {"so_far", counts_.refused}});
}

Task<http::Response> Receiver::answer_to(http::Request request) {
  if (auto real = check(request); !real) {
    tell_refusal(real.error());
    co_return Error{Code::unauthenticated, "the delivery is not signed for this endpoint"};
  }
  taken.add();
  auto event = runner::parse_json(request.body);
  const boost::json::value* data = event ? runner::member(*event, "data") : nullptr;
  const std::string type = data ? runner::text(*data, "type") : "";
  if (type != kStarted) {
    ++counts_.ignored;
    co_return answer("ignored");
  }
  const std::string id(header(request, "webhook-id"));
  forget_old();
  if (seen_.contains(id)) {
    ++counts_.duplicates;
    co_return answer("duplicate");
  }
  ++counts_.queued;
  log::info("webhook.taken",
            {{"delivery", id}, {"session", data ? runner::text(*data, "id") : ""}});
  if (auto passed = co_await hint_(); !passed) {
    log::warn("webhook.hint", {{"error", passed.error().what}});
    co_return Error{Code::unavailable, "nobody takes this now; try again"};
  }
  remember(id);  // not before: the sender's next attempt is to count
  co_return answer("queued");
}

std::vector<http::Route> Receiver::routes() {
  auto deliver = [this](http::Request request) { return answer_to(std::move(request)); };
  return {{"POST", "/", http::Body::whole, deliver, kLargest},
          {"GET", "/healthz", http::Body::none, healthz}};
}

http::ServerOptions Receiver::server_options() {
  http::ServerOptions options;
  options.head_limit = 16 * 1024;
  options.max_headers = 64;
  options.max_connections = 256;
  options.head_deadline = 10s;
  options.body_deadline = 10s;
  options.write_deadline = 10s;
  options.idle_deadline = 30s;
  return options;
}

Result<std::vector<Secret>> signing_keys(std::string_view text) {
  std::vector<Secret> keys;
  for (const std::string& word : split(text, ' ')) {
    if (trim(word).empty()) continue;
    TRY(key, wire::webhook_key(trim(word)), "ANTHROPIC_WEBHOOK_SIGNING_KEY");
    keys.push_back(std::move(key));
  }
  if (keys.empty())
    return Error{Code::invalid,
                 "ANTHROPIC_WEBHOOK_SIGNING_KEY is not set: it is the secret (whsec_…) that was "
                 "shown when the webhook was registered"};
  return keys;
}

}  // namespace glovebox::orchestrator
