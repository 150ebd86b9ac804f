#include "brain/webhooks.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "brain/ids.h"
#include "http/client.h"
#include "net/task.h"
#include "wire/webhook.h"

namespace glovebox::brain {

static metrics::Counter sent("brain_webhooks_delivered_total", "Deliveries that were accepted.");
static metrics::Counter failed("brain_webhook_failures_total", "Attempts that were not.");
static metrics::Counter dropped("brain_webhooks_dropped_total",
                                "Deliveries given up after their last attempt.");

namespace {

constexpr int kAttempts = 3;
constexpr std::size_t kAtOnce = 8;  // to one endpoint
constexpr std::int64_t kMaxEndpoints = 32;
constexpr Micros kLongAway = 3'600'000'000;

std::string purpose(std::string_view webhook) { return str("webhook ", webhook); }

// A third more or less, so that what failed together does not come back together.
Micros jittered(Millis wait) {
  auto random = static_cast<unsigned char>(random_bytes(1)[0]);
  return wait.count() * 1000 * (512 + 2 * random) / 768;
}

struct Place {
  http::Url url;
  std::string target;
};

Result<Place> parse_place(std::string_view text) {
  auto query = std::min(text.find('?'), text.size());
  TRY(url, http::Url::parse(text.substr(0, query)));
  std::string path = std::exchange(url.path_prefix, "");
  return Place{std::move(url), str(path.empty() ? "/" : path, text.substr(query))};
}

bool wants(const std::vector<std::string>& types, std::string_view type) {
  return std::ranges::any_of(types,
                             [&](const std::string& one) { return one == "*" || one == type; });
}

}  // namespace

Webhooks::Webhooks(net::Loop& loop, Store& store, WebhookRecords& records, Seal seal,
                   std::string workspace, WebhookOptions options)
    : loop_(loop),
      store_(store),
      records_(records),
      seal_(std::move(seal)),
      workspace_(std::move(workspace)),
      options_(std::move(options)),
      tasks_(loop) {}

Result<void> Webhooks::open() {
  TRY_DO(reload());
  tasks_.spawn("brain.webhooks", run());
  return ok;
}

Task<void> Webhooks::close(Millis limit) { return tasks_.finish(limit); }

Result<void> Webhooks::reload() {
  TRY(rows, records_.webhooks({.limit = kMaxEndpoints}));
  enabled_.clear();
  for (auto& [number, row] : rows)
    if (row.enabled) enabled_.emplace(row.id, std::move(row.events));
  wake_.notify();
  return ok;
}

Result<void> Webhooks::announce(std::string_view type, std::string_view object,
                                std::string_view members) {
  DeliveryRow row;
  for (const auto& [webhook, types] : enabled_) {
    if (!wants(types, type)) continue;
    if (row.event_id.empty()) {
      row.event_id = new_id("wevt");
      row.type = type;
      row.created_at = row.due_at = now_us();
      row.body = str(R"({"type":"event","id":")", row.event_id, R"(","created_at":")",
                     rfc3339(row.created_at), R"(","data":{"type":")", type, R"(","id":")",
                     json_escape(object), R"(","organization_id":"org_)", workspace_,
                     R"(","workspace_id":"wrkspc_)", workspace_, '"', members.empty() ? "" : ",",
                     members, "}}");
    }
    row.webhook_id = webhook;
    TRY_DO(records_.add_delivery(row), "owe endpoint ", webhook);
  }
  if (!row.event_id.empty()) wake_.notify();
  return ok;
}

// --- Endpoints

// A port of a sandbox, behind the ingress: no way to anything else of this machine.
bool Webhooks::is_own(const http::Url& url) const {
  return !options_.own_domain.empty() && url.scheme == "https" && url.port == options_.own_port &&
         lower(url.host).ends_with("." + options_.own_domain);
}

Result<void> Webhooks::check_url(const std::string& text) const {
  auto wrong = [](std::string_view why) { return Error{Code::invalid, str("url: ", why)}; };
  auto place = parse_place(text);
  if (!place || !place->url.unix_path.empty()) return wrong("must be an https URL");
  const http::Url& url = place->url;
  if (text.find('@') != text.npos) return wrong("must not have credentials in it");
  if (text.find('#') != text.npos) return wrong("must not have a fragment");
  if (options_.allow_private || is_own(url)) return ok;
  constexpr std::string_view hint = "; brain.webhooks_allow_private = true allows others";
  if (url.scheme != "https") return wrong(str("must be https", hint));
  if (url.port != 443) return wrong(str("must be of port 443", hint));
  net::Address address{.host = url.host};
  bool number = url.host.contains(':') || parse_int<int>(url.host.substr(url.host.rfind('.') + 1));
  if (number || address.is_loopback())
    return wrong(str("must name a public host, not ", url.host, hint));
  return ok;
}

Result<std::string> Webhooks::add(WebhookRow& row) {
  TRY(count, records_.count_webhooks());
  if (count >= kMaxEndpoints)
    return Error{Code::invalid,
                 str("there are ", count, " webhook endpoints, the most there can be")};
  row.id = new_id("whep");
  row.created_at = row.updated_at = now_us();
  std::string secret = wire::new_webhook_secret();
  TRY(sealed, seal_.close(Secret(secret), purpose(row.id)));
  row.secret = std::move(sealed);
  TRY_DO(records_.add_webhook(row));
  TRY_DO(reload());
  return secret;
}

Result<void> Webhooks::save(WebhookRow row) {
  row.updated_at = now_us();
  TRY_DO(store_.atomically([&]() -> Result<void> {
    TRY_DO(records_.save_webhook(row));
    return row.enabled ? ok : records_.drop_deliveries(row.id);
  }));
  return reload();
}

Result<std::string> Webhooks::exchange_secret(WebhookRow row) {
  std::string secret = wire::new_webhook_secret();
  TRY(sealed, seal_.close(Secret(secret), purpose(row.id)));
  row.secret = std::move(sealed);
  TRY_DO(save(std::move(row)));
  return secret;
}

Result<void> Webhooks::remove(std::string_view id) {
  TRY_DO(records_.remove_webhook(id));
  return reload();
}

Result<void> Webhooks::replay(std::string_view id, std::string_view event) {
  TRY(webhook, records_.webhook(id));
  if (!webhook.enabled) return Error{Code::invalid, "the endpoint is disabled: enable it first"};
  TRY(row, records_.delivery(id, event));
  row.due_at = now_us();
  row.attempts = 0;
  row.delivered_at = 0;
  TRY_DO(records_.save_delivery(row));
  wake_.notify();
  return ok;
}

Result<void> Webhooks::sweep(Micros before) { return records_.sweep_deliveries(before); }

// --- Deliveries

Task<void> Webhooks::run() {
  for (;;) {
    Micros next = now_us() + kLongAway;
    for (const auto& [webhook, types] : enabled_) next = std::min(next, start_due(webhook));
    auto wait = Millis(std::max<Micros>((next - now_us() + 999) / 1000, 1));
    auto woken = co_await wake_.wait(wait);
    if (!woken && woken.error().code != Code::timeout) co_return std::move(woken.error());
  }
}

// When the next one is due of those that have not begun. A full house is no time: an end wakes us.
Micros Webhooks::start_due(const std::string& webhook) {
  auto& under_way = under_way_[webhook];
  auto rows = records_.owed_deliveries(webhook, static_cast<int>(under_way.size() + kAtOnce));
  if (!rows) {
    log::error("webhook.store", {{"error", rows.error().what}});
    return now_us() + 1'000'000;
  }
  for (auto& row : *rows) {
    if (under_way.contains(row.number)) continue;
    if (row.due_at > now_us()) return row.due_at;
    if (under_way.size() >= kAtOnce) break;
    under_way.insert(row.number);
    tasks_.spawn("webhook", deliver(std::move(row)));
  }
  return now_us() + kLongAway;
}

Task<void> Webhooks::deliver(DeliveryRow row) {
  Result<int> answer = Error{Code::cancelled, "not tried"};
  auto webhook = records_.webhook(row.webhook_id);
  if (webhook) answer = co_await attempt(std::move(*webhook), row);
  if (answer || answer.error().code != Code::cancelled) {
    auto settled = settle(row, answer);
    if (!settled) log::error("webhook.store", {{"error", settled.error().what}});
  }
  under_way_[row.webhook_id].erase(row.number);
  wake_.notify();
  co_return ok;
}

Task<int> Webhooks::attempt(WebhookRow webhook, DeliveryRow row) {
  CO_TRY(place, parse_place(webhook.url));
  CO_TRY(secret, seal_.reveal(webhook.secret, purpose(webhook.id)));
  CO_TRY(key, wire::webhook_key(secret.reveal()));
  std::int64_t now = now_us() / 1'000'000;
  http::Headers headers;
  headers.set("Content-Type", "application/json");
  headers.set("User-Agent", "glovebox-webhooks");
  headers.set("Connection", "close");
  headers.set("webhook-id", row.event_id);
  headers.set("webhook-timestamp", str(now));
  headers.set("webhook-signature", wire::sign_webhook(key, row.event_id, now, row.body));
  const bool anywhere = options_.allow_private || is_own(place.url);
  http::Client client(loop_, std::move(place.url), {},
                      {.connect_deadline = options_.answer_limit,
                       .head_deadline = options_.answer_limit,
                       .also_trust = options_.also_trust,
                       .reach = anywhere ? net::Reach::anywhere : net::Reach::public_only});
  // What it says beside its status is of no interest: a head is enough.
  CO_TRY(answer, co_await client.open("POST", place.target, row.body, headers));
  co_return answer.status;
}

Result<void> Webhooks::settle(const DeliveryRow& tried, const Result<int>& answer) {
  // Both may have changed meanwhile, or gone.
  auto row = records_.delivery(tried.webhook_id, tried.event_id);
  auto webhook = records_.webhook(tried.webhook_id);
  if (!row || !webhook || row->due_at == 0) return ok;
  Micros now = now_us();
  ++row->attempts;
  row->status = answer ? *answer : 0;
  row->error = answer ? "" : answer.error().what;
  if (row->status / 100 == 2) {
    FAULT("brain.webhook_sent");
    row->due_at = 0;
    row->delivered_at = now;
    sent.add();
    TRY_DO(records_.save_delivery(*row));
    if (webhook->failing_since == 0) return ok;
    webhook->failing_since = 0;
    return records_.save_webhook(*webhook);
  }
  failed.add();
  log::warn("webhook.failed", {{"webhook", webhook->id},
                               {"event", row->event_id},
                               {"attempt", row->attempts},
                               {"status", row->status},
                               {"error", row->error}});
  auto again = static_cast<std::size_t>(row->attempts) - 1;
  bool last = row->attempts >= kAttempts || again >= options_.waits.size();
  row->due_at = last ? 0 : now + jittered(options_.waits[again]);
  if (last) dropped.add();
  TRY_DO(records_.save_delivery(*row));
  if (webhook->failing_since == 0) webhook->failing_since = now;
  if (row->status / 100 == 3) webhook->disabled_reason = "it redirects";
  if (!answer && answer.error().tag == "NOT_PUBLIC")
    webhook->disabled_reason = "its name leads to an address that is not public";
  if (now - webhook->failing_since > options_.give_up_after)
    webhook->disabled_reason = "it failed for too long";
  if (webhook->disabled_reason.empty()) return records_.save_webhook(*webhook);
  log::warn("webhook.disabled", {{"webhook", webhook->id}, {"reason", webhook->disabled_reason}});
  webhook->enabled = false;
  return save(std::move(*webhook));
}

}  // namespace glovebox::brain
