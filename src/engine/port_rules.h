// What exposed ports ask of requests beyond a token, in the database of the sandboxes: a port is
// exposed and its rule is kept together, or neither. A rule ends with its sandbox and is not
// inherited by copies: the secret was given for one.
#pragma once

#include <string>
#include <vector>

#include "engine/records.h"
#include "wire/ingress.h"

namespace glovebox::engine {

inline constexpr std::size_t kMostRules = 16, kMostSecrets = 4;  // of a sandbox; of a rule

class PortRules {
 public:
  explicit PortRules(store::Database& db) : db_(db) {}
  Result<std::vector<wire::IngressPort>> of(const std::string& sandbox);  // by number
  // `record` exposes the port, and gets its rule, in one transaction.
  Result<void> expose(Records& records, const wire::SandboxRecord& record,
                      const wire::IngressPort& port);
  // The record as it is to be; the rules of ports it does not expose any more go with it.
  Result<void> save(Records& records, const wire::SandboxRecord& record);
  Result<void> drop(const std::string& sandbox, int port);
  Result<void> forget(const std::string& sandbox);
  Result<void> sweep();  // what a crash left of sandboxes that have ended

 private:
  store::Database& db_;
};

// Every port `record` exposes, with its rule where it has one.
Result<std::vector<wire::IngressPort>> exposed_ports(store::Database& db,
                                                     const wire::SandboxRecord& record);

}  // namespace glovebox::engine
