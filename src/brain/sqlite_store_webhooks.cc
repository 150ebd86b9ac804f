#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kColumns =
    "number, id, url, name, description, events, secret, enabled, disabled_reason, failing_since, "
    "created_at, updated_at FROM webhooks";

// Types have no blanks.
std::string joined(const std::vector<std::string>& events) {
  std::string text;
  for (const auto& event : events) text += str(text.empty() ? "" : " ", event);
  return text;
}

Listed<WebhookRow> webhook_of(const store::Statement& query) {
  WebhookRow row{.id = query.text(1),
                 .url = query.text(2),
                 .name = query.text(3),
                 .description = query.text(4),
                 .secret = query.text(6),
                 .enabled = query.integer(7) != 0,
                 .disabled_reason = query.text(8),
                 .failing_since = query.integer(9),
                 .created_at = query.integer(10),
                 .updated_at = query.integer(11)};
  std::string events = query.text(5);
  for (auto event : split(events, ' ')) row.events.emplace_back(event);
  return {query.integer(0), std::move(row)};
}

constexpr std::string_view kDeliveryColumns =
    "number, webhook_id, event_id, type, body, created_at, due_at, attempts, delivered_at, status, "
    "error FROM webhook_deliveries";

Listed<DeliveryRow> delivery_of(const store::Statement& query) {
  return {query.integer(0), DeliveryRow{.number = query.integer(0),
                                        .webhook_id = query.text(1),
                                        .event_id = query.text(2),
                                        .type = query.text(3),
                                        .body = query.text(4),
                                        .created_at = query.integer(5),
                                        .due_at = query.integer(6),
                                        .attempts = static_cast<int>(query.integer(7)),
                                        .delivered_at = query.integer(8),
                                        .status = static_cast<int>(query.integer(9)),
                                        .error = query.text(10)}};
}

// Neither is ever archived.
ListQuery all_of(ListQuery query) {
  query.include_archived = true;
  return query;
}

}  // namespace

Result<void> SqliteStore::add_webhook(const WebhookRow& row) {
  TRY(statement, db_.prepare("INSERT INTO webhooks(id, url, name, description, events, secret, "
                             "enabled, disabled_reason, failing_since, created_at, updated_at) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(row.id, row.url, row.name, row.description, joined(row.events), row.secret,
                 row.enabled, row.disabled_reason, row.failing_since, row.created_at,
                 row.updated_at);
  return statement.run();
}

Result<WebhookRow> SqliteStore::webhook(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (found) return webhook_of(query).row;
  return Error{Code::not_found, str("there is no webhook endpoint ", id)};
}

Result<void> SqliteStore::save_webhook(const WebhookRow& row) {
  TRY(statement, db_.prepare("UPDATE webhooks SET url = ?, name = ?, description = ?, events = ?, "
                             "secret = ?, enabled = ?, disabled_reason = ?, failing_since = ?, "
                             "updated_at = ? WHERE id = ?"));
  statement.bind(row.url, row.name, row.description, joined(row.events), row.secret, row.enabled,
                 row.disabled_reason, row.failing_since, row.updated_at, row.id);
  return statement.run();
}

Result<void> SqliteStore::remove_webhook(std::string_view id) {
  return atomically([&]() -> Result<void> {
    for (auto sql : {"DELETE FROM webhooks WHERE id = ?",
                     "DELETE FROM webhook_deliveries WHERE webhook_id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<WebhookRow>>> SqliteStore::webhooks(const ListQuery& query) {
  auto all = all_of(query);
  TRY(statement, db_.prepare(str("SELECT ", kColumns, " WHERE ", list_conditions("", all),
                                 list_order("", all))));
  bind_list(statement, all);
  statement.bind(all.limit);
  return rows_of<WebhookRow>(statement, webhook_of);
}

Result<std::int64_t> SqliteStore::count_webhooks() {
  TRY(query, db_.prepare("SELECT count(*) FROM webhooks"));
  TRY_DO(query.step());
  return query.integer(0);
}

Result<void> SqliteStore::add_delivery(const DeliveryRow& row) {
  TRY(statement, db_.prepare("INSERT INTO webhook_deliveries(webhook_id, event_id, type, body, "
                             "created_at, due_at, attempts, delivered_at, status, error) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(row.webhook_id, row.event_id, row.type, row.body, row.created_at, row.due_at,
                 row.attempts, row.delivered_at, row.status, row.error);
  return statement.run();
}

Result<void> SqliteStore::save_delivery(const DeliveryRow& row) {
  TRY(statement, db_.prepare("UPDATE webhook_deliveries SET due_at = ?, attempts = ?, "
                             "delivered_at = ?, status = ?, error = ? WHERE number = ?"));
  return statement
      .bind(row.due_at, row.attempts, row.delivered_at, row.status, row.error, row.number)
      .run();
}

Result<DeliveryRow> SqliteStore::delivery(std::string_view webhook, std::string_view event) {
  TRY(query,
      db_.prepare(str("SELECT ", kDeliveryColumns, " WHERE webhook_id = ? AND event_id = ?")));
  TRY(found, query.bind(webhook, event).step());
  if (found) return delivery_of(query).row;
  return Error{Code::not_found, str("endpoint ", webhook, " was never owed the event ", event)};
}

Result<std::vector<Listed<DeliveryRow>>> SqliteStore::deliveries(std::string_view webhook,
                                                                 const ListQuery& query) {
  auto all = all_of(query);
  TRY(statement, db_.prepare(str("SELECT ", kDeliveryColumns, " WHERE ", list_conditions("", all),
                                 " AND webhook_id = ?", list_order("", all))));
  bind_list(statement, all);
  statement.bind(webhook, all.limit);
  return rows_of<DeliveryRow>(statement, delivery_of);
}

Result<std::vector<DeliveryRow>> SqliteStore::owed_deliveries(std::string_view webhook, int limit) {
  TRY(query, db_.prepare(str("SELECT ", kDeliveryColumns,
                             " WHERE webhook_id = ? AND due_at > 0 "
                             "ORDER BY due_at LIMIT ?")));
  query.bind(webhook, limit);
  std::vector<DeliveryRow> rows;
  for (;;) {
    TRY(more, query.step());
    if (!more) return rows;
    rows.push_back(delivery_of(query).row);
  }
}

Result<void> SqliteStore::drop_deliveries(std::string_view webhook) {
  TRY(statement, db_.prepare("UPDATE webhook_deliveries SET due_at = 0, error = 'the endpoint was "
                             "disabled' WHERE webhook_id = ? AND due_at > 0"));
  return statement.bind(webhook).run();
}

Result<void> SqliteStore::sweep_deliveries(Micros before) {
  TRY(statement, db_.prepare("DELETE FROM webhook_deliveries WHERE due_at = 0 AND created_at < ?"));
  return statement.bind(before).run();
}

}  // namespace glovebox::brain
