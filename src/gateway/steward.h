// A steward: the box whose receiver takes webhooks, where it also takes the work they tell of
// (`--mode=webhook-sandbox` with `runner = "inside"`). The orchestrator runs in there and believes
// that it speaks to the service, the engine and the uplink; all three are this one listener. What
// it asks is judged by steward_rules.h, and the keys are added here.
//
//   appointed ─► its box found by name ─► listener opened in it ─► requests, judged ─► …
//
// The way in is kept open by the uplink itself, since nobody else is there while nothing happens.
// What the steward has taken and made is on disk (steward_records.h), so that a new uplink still
// tells its boxes from others.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "gateway/steward_rules.h"

namespace glovebox::gateway {

struct StewardOptions {
  std::string box;   // the name of its box
  int port = 0;      // of its listener in there
  std::string name;  // of the process in there that is the receiver
  std::string service_url, engine_url;
  std::string also_trust = {};  // certificates besides the system's: see net::TlsClient
  Stewardship may;
  std::string records;            // a file
  std::size_t connections = 256;  // a stream for each session it serves, and some
  Millis look{5'000};             // between two looks whether its way is open
  // While it sleeps the queue is looked at that often, in case a webhook was lost.
  Millis net{30'000};
  int reclaim_older_than_ms = 2'000;
};

// Shared: a rotated key counts at once.
struct StewardKeys {
  std::shared_ptr<const Secret> environment, engine;
};

}  // namespace glovebox::gateway
