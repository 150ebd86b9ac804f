// Endpoints of webhooks, as the organization API has them, for every event there is here; and what
// became of each delivery.
#include <algorithm>

#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "net/task.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxName = 256, kMaxDescription = 2048, kMaxUrl = 2048;

constexpr std::string_view kEvents[] = {
    "*",
    "session.created",
    "session.updated",
    "session.archived",
    "session.deleted",
    "session.status_run_started",
    "session.status_idled",
    "session.status_rescheduled",
    "session.status_terminated",
    "agent.created",
    "agent.updated",
    "agent.archived",
    "environment.created",
    "environment.updated",
    "environment.archived",
    "environment.deleted",
    "memory_store.created",
    "memory_store.archived",
    "memory_store.deleted",
};

std::string webhook_members(const WebhookRow& row) {
  std::string events;
  for (const auto& event : row.events) events += str(events.empty() ? "" : ",", text_json(event));
  return str(R"("id":")", row.id, R"(","type":"webhook_endpoint","url":)", text_json(row.url),
             R"(,"name":)", text_json(row.name), R"(,"description":)", text_json(row.description),
             R"(,"enabled_events":[)", events, R"(],"state":")",
             row.enabled ? "enabled" : "disabled", R"(","disabled_reason":)",
             text_json(row.disabled_reason), R"(,"created_at":)", time_json(row.created_at),
             R"(,"updated_at":)", time_json(row.updated_at));
}

std::string webhook_json(const WebhookRow& row) { return str('{', webhook_members(row), '}'); }

std::string_view state_of(const DeliveryRow& row) {
  if (row.due_at) return row.attempts ? "waiting" : "owed";
  return row.delivered_at ? "delivered" : "dropped";
}

std::string delivery_json(const DeliveryRow& row) {
  return str(R"({"type":"webhook_delivery","event_id":")", row.event_id, R"(","event_type":")",
             row.type, R"(","state":")", state_of(row), R"(","attempts":)", row.attempts,
             R"(,"last_status":)", row.status ? str(row.status) : "null", R"(,"last_error":)",
             row.error.empty() ? "null" : text_json(row.error), R"(,"created_at":)",
             time_json(row.created_at), R"(,"next_attempt_at":)", time_json(row.due_at),
             R"(,"delivered_at":)", time_json(row.delivered_at), R"(,"body":)", row.body, '}');
}

Result<std::vector<std::string>> events_of(Members& members) {
  std::vector<std::string> events;
  const json::value* given = members.take("enabled_events");
  if (!given) return events;
  if (!given->is_array()) return members.wrong("enabled_events", "must be a list of event types");
  for (const auto& value : given->get_array()) {
    std::string type = value.is_string() ? std::string(value.get_string()) : "";
    if (std::ranges::find(kEvents, type) == std::end(kEvents))
      return members.wrong("enabled_events",
                           str("there is no event ", json::serialize(value), " here"));
    if (std::ranges::find(events, type) == events.end()) events.push_back(std::move(type));
  }
  return events;
}

Result<void> take_members(Members& members, const Webhooks& webhooks, WebhookRow& row) {
  if (row.id.empty() || members.raw().contains("url")) {
    TRY(url, required_text(members, "url", kMaxUrl));
    TRY_DO(webhooks.check_url(url));
    row.url = std::move(url);
  }
  TRY(events, events_of(members));
  if (!events.empty()) row.events = std::move(events);
  if (row.events.empty())
    return members.wrong("enabled_events", "must name at least one; \"*\" is all of them");
  TRY(name, text_up_to(members, "name", kMaxName));
  if (name) row.name = std::move(*name);
  TRY(description, text_up_to(members, "description", kMaxDescription));
  if (description) row.description = std::move(*description);
  TRY(state, members.text("state", 16));
  if (state && *state != "enabled" && *state != "disabled")
    return members.wrong("state", "must be enabled or disabled");
  if (state) {
    row.enabled = *state == "enabled";
    row.disabled_reason.clear();
    row.failing_since = 0;
  }
  members.done();
  return ok;
}

// A list with a window of ids: after_id and before_id are two ways to say where it begins.
struct Window {
  ListQuery query;
  int limit = 20;
  bool backward = false;
};

Result<Window> window_of(const Call& call) {
  Window window;
  TRY(limit, call.query.integer("limit", 1, 1000));
  window.limit = static_cast<int>(limit.value_or(20));
  auto order = call.query.text("order").value_or("desc");
  if (order != "asc" && order != "desc") return Error{Code::invalid, "order: must be asc or desc"};
  auto after = call.query.text("after_id"), before = call.query.text("before_id");
  if (after && before) return Error{Code::invalid, "after_id, before_id: one of the two"};
  window.backward = before.has_value();
  window.query.ascending = (order == "asc") != window.backward;
  window.query.limit = window.limit + 1;
  if (after || before) {
    TRY(rows, call.api.webhook_records.webhooks({.limit = kMaxPage}));
    auto found = std::ranges::find(rows, after ? *after : *before,
                                   [](const auto& listed) { return listed.row.id; });
    if (found == rows.end())
      return Error{Code::invalid, str("there is no webhook endpoint ", after ? *after : *before)};
    window.query.from = found->number;
  }
  return window;
}

}  // namespace

Reply create_webhook(Call call) {
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  WebhookRow row;
  CO_TRY_DO(take_members(members, call.api.webhooks, row));
  CO_TRY(secret, call.api.webhooks.add(row));
  log::info("webhook.created", {{"webhook", row.id}, {"url", row.url}});
  co_return http::json(
      200, str('{', webhook_members(row), R"(,"signing_secret":)", text_json(secret), '}'));
}

Reply list_webhooks(Call call) {
  CO_TRY(window, window_of(call));
  CO_TRY(rows, call.api.webhook_records.webhooks(window.query));
  bool more = rows.size() > static_cast<std::size_t>(window.limit);
  if (more) rows.pop_back();
  if (window.backward) std::ranges::reverse(rows);
  std::string data;
  for (const auto& listed : rows) data += str(data.empty() ? "" : ",", webhook_json(listed.row));
  auto id = [&](const auto& listed) { return text_json(listed.row.id); };
  co_return http::json(200, str(R"({"data":[)", data, R"(],"has_more":)", more, R"(,"first_id":)",
                                rows.empty() ? "null" : id(rows.front()), R"(,"last_id":)",
                                rows.empty() ? "null" : id(rows.back()), '}'));
}

Reply get_webhook(Call call) {
  CO_TRY(row, call.api.webhook_records.webhook(call.param("webhook")));
  co_return http::json(200, webhook_json(row));
}

Reply update_webhook(Call call) {
  CO_TRY(row, call.api.webhook_records.webhook(call.param("webhook")));
  CO_TRY(body, body_of(call.request));
  const json::value whole(std::move(body));
  CO_TRY(members, Members::of(whole));
  CO_TRY_DO(take_members(members, call.api.webhooks, row));
  CO_TRY_DO(call.api.webhooks.save(row));
  CO_TRY(saved, call.api.webhook_records.webhook(row.id));
  co_return http::json(200, webhook_json(saved));
}

Reply delete_webhook(Call call) {
  CO_TRY(row, call.api.webhook_records.webhook(call.param("webhook")));
  CO_TRY_DO(call.api.webhooks.remove(row.id));
  log::info("webhook.deleted", {{"webhook", row.id}});
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"webhook_endpoint_deleted"})"));
}

Reply exchange_webhook_secret(Call call) {
  CO_TRY(row, call.api.webhook_records.webhook(call.param("webhook")));
  CO_TRY(secret, call.api.webhooks.exchange_secret(row));
  log::info("webhook.secret_exchanged", {{"webhook", row.id}});
  co_return http::json(200, str(R"({"signing_secret":)", text_json(secret), '}'));
}

Reply list_deliveries(Call call) {
  CO_TRY(webhook, call.api.webhook_records.webhook(call.param("webhook")));
  const std::string filters = "deliveries " + webhook.id;
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows, call.api.webhook_records.deliveries(
                   webhook.id, {.from = page.cursor.number, .limit = page.limit + 1}));
  co_return page_json(std::move(rows), page, filters, delivery_json);
}

Reply replay_delivery(Call call) {
  const std::string webhook = call.param("webhook"), event = call.param("event");
  CO_TRY_DO(call.api.webhooks.replay(webhook, event));
  CO_TRY(row, call.api.webhook_records.delivery(webhook, event));
  co_return http::json(200, delivery_json(row));
}

}  // namespace glovebox::brain
