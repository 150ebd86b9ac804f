// What the store keeps of webhooks: endpoints, and for each the deliveries it is owed or has had.
#pragma once

#include "brain/records.h"

namespace glovebox::brain {

struct WebhookRow {
  std::string id, url, name, description;
  std::vector<std::string> events;  // types; "*" stands for all
  std::string secret;               // sealed: the key is not in the database
  bool enabled = true;
  std::string disabled_reason;  // why we did it; "": it is enabled, or somebody disabled it
  Micros failing_since = 0;     // of the first failure since the last success
  Micros created_at = 0, updated_at = 0;
};

struct DeliveryRow {
  std::int64_t number = 0;  // given by add_delivery()
  std::string webhook_id, event_id, type, body;
  Micros created_at = 0;
  Micros due_at = 0;  // of the next attempt; 0: it is over
  int attempts = 0;
  Micros delivered_at = 0;  // 0 and over: dropped
  int status = 0;           // of the last answer; 0: there was none
  std::string error;        // of the last attempt
};

class WebhookRecords {
 public:
  virtual ~WebhookRecords() = default;

  virtual Result<void> add_webhook(const WebhookRow& row) = 0;
  virtual Result<WebhookRow> webhook(std::string_view id) = 0;
  virtual Result<void> save_webhook(const WebhookRow& row) = 0;
  virtual Result<void> remove_webhook(std::string_view id) = 0;  // with its deliveries
  virtual Result<std::vector<Listed<WebhookRow>>> webhooks(const ListQuery& query) = 0;
  virtual Result<std::int64_t> count_webhooks() = 0;

  virtual Result<void> add_delivery(const DeliveryRow& row) = 0;
  virtual Result<void> save_delivery(const DeliveryRow& row) = 0;
  virtual Result<DeliveryRow> delivery(std::string_view webhook, std::string_view event) = 0;
  virtual Result<std::vector<Listed<DeliveryRow>>> deliveries(std::string_view webhook,
                                                              const ListQuery& query) = 0;
  // What is owed, the first due first.
  virtual Result<std::vector<DeliveryRow>> owed_deliveries(std::string_view webhook, int limit) = 0;
  virtual Result<void> drop_deliveries(std::string_view webhook) = 0;  // all that are owed
  virtual Result<void> sweep_deliveries(Micros before) = 0;            // those that are over
};

}  // namespace glovebox::brain
