// Tells endpoints what happened. What an endpoint is owed is written in the same transaction as
// what it is about, so a killed brain owes it still; deliveries go out from there, as often as it
// takes and no longer.
//
//   owed ──► attempt ──2xx──► delivered
//     ▲         │
//     └─ wait ──┴─ anything else, up to kAttempts ──► dropped
//
// An endpoint that redirects, leads to an address it may not, or fails for a day on end is
// disabled. Order is not promised and an event may come twice: its id is the same then.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "brain/seal.h"
#include "brain/webhook_records.h"
#include "net/loop.h"

namespace glovebox::http {
struct Url;
}

namespace glovebox::brain {

struct WebhookOptions {
  bool allow_private = false;          // http, and addresses that are not public
  std::string own_domain;              // of our own ingress, wherever that is: its names may be
  int own_port = 0;                    // endpoints, at this port over https
  std::string also_trust;              // see net::TlsClient
  std::vector<Millis> waits{8s, 60s};  // before each further attempt, give or take a third
  Millis answer_limit{10'000};
  Micros give_up_after = 24ll * 3600 * 1'000'000;  // of unbroken failure
};

class Announcer {
 public:
  virtual ~Announcer() = default;
  // Part of the caller's transaction. `members`: further ones of `data`, as they stand in JSON.
  virtual Result<void> announce(std::string_view type, std::string_view object,
                                std::string_view members = "") = 0;
};

class Webhooks final : public Announcer {
 public:
  // `workspace` names this brain in what is told. All of them outlive this.
  Webhooks(net::Loop& loop, Store& store, WebhookRecords& records, Seal seal, std::string workspace,
           WebhookOptions options = {});

  Result<void> open();             // and delivers from now on
  Task<void> close(Millis limit);  // what is owed then is owed at the next start
  Result<void> announce(std::string_view type, std::string_view object,
                        std::string_view members = "") override;

  // Endpoints. Each gives the secret where it makes one: it is never shown again.
  Result<void> check_url(const std::string& url) const;
  Result<std::string> add(WebhookRow& row);
  Result<void> save(WebhookRow row);  // disabling drops what it was owed
  Result<std::string> exchange_secret(WebhookRow row);
  Result<void> remove(std::string_view id);
  Result<void> replay(std::string_view id, std::string_view event);  // from the first attempt
  Result<void> sweep(Micros before);

 private:
  bool is_own(const http::Url& url) const;
  Task<void> run();
  Micros start_due(const std::string& webhook);
  Task<void> deliver(DeliveryRow row);
  Task<int> attempt(WebhookRow webhook, DeliveryRow row);
  Result<void> settle(const DeliveryRow& tried, const Result<int>& answer);
  Result<void> reload();

  net::Loop& loop_;
  Store& store_;
  WebhookRecords& records_;
  Seal seal_;
  std::string workspace_;
  WebhookOptions options_;
  std::map<std::string, std::vector<std::string>> enabled_;  // endpoint → types
  std::map<std::string, std::set<std::int64_t>> under_way_;  // endpoint → deliveries
  net::Event wake_;
  net::TaskGroup tasks_;
};

}  // namespace glovebox::brain
