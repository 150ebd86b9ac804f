// What a worker inside of a box is granted, asked from the uplink (src/gateway): one session's
// endpoints and one item's, with a credential that goes there and no further.
#pragma once

#include <memory>
#include <string>

#include "base/secret.h"
#include "http/client.h"
#include "net/loop.h"
#include "runner/service.h"

namespace glovebox::orchestrator {

struct UplinkGrant {
  std::string box, environment, work;
  std::string service_url;
  http::Headers headers;      // an operator's, of every request to the service
  runner::Session session;    // whose skills and memory stores go with it
  runner::Bearer credential;  // the item's token, or the environment's key
};

class UplinkApi {
 public:
  UplinkApi(net::Loop& loop, http::Url url, std::shared_ptr<const Secret> key);
  ~UplinkApi();

  // Both tell whether the box has a listener. A grant that is not renewed ends after a while;
  // Code::not_found: there is none (any more).
  Task<bool> grant(UplinkGrant grant);
  Task<bool> renew(std::string box, std::string work);
  Task<void> revoke(std::string box, std::string work);

  // The way of a receiver of webhooks in that box: what it says, and nothing else, is heard here.
  struct Door {
    bool listening = false, heard = false;
    bool steward = false;  // what takes the work is in that box
  };
  Task<Door> keep_door(std::string box);
  // Waits a while for another number than `before`: a hint has come.
  Task<std::uint64_t> hints(std::uint64_t before);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace glovebox::orchestrator
