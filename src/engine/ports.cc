// Ports that are reachable from outside, and what they ask of requests.
#include <algorithm>

#include "engine/core.h"
#include "engine/port_rules.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMostPorts = 64;  // as of a create

Task<std::shared_ptr<Box>> living(Core& core, std::string id_or_name) {
  if (auto box = core.find(id_or_name)) co_return box;
  CO_TRY(record, core.records->find(id_or_name));
  co_return Error{Code::conflict, str("sandbox ", record.id, " is ", record.status),
                  "SANDBOX_NOT_RUNNING"};
}

}  // namespace

Task<void> Core::verify_port(std::string id_or_name, wire::IngressPort port) {
  CO_TRY(box, co_await living(*this, std::move(id_or_name)));
  PortRules rules(records->database());
  CO_TRY(others, rules.of(box->record.id));
  std::erase_if(others, [&](const auto& rule) { return rule.port == port.port; });
  if (others.size() >= kMostRules)
    co_return Error{Code::exhausted, str("a sandbox has at most ", kMostRules, " verified ports")};
  wire::SandboxRecord record = box->record;
  auto& exposed = record.exposed_ports;
  if (std::ranges::find(exposed, port.port) == exposed.end()) exposed.push_back(port.port);
  if (exposed.size() > kMostPorts)
    co_return Error{Code::exhausted, str("a sandbox exposes at most ", kMostPorts, " ports")};
  CO_TRY_DO(rules.expose(*records, record, port), "note");
  box->record = record;
  on_change(record.id);
  co_return co_await synced();
}

Task<void> Core::unverify_port(std::string id_or_name, int port) {
  CO_TRY(box, co_await living(*this, std::move(id_or_name)));
  if (box->record.allow_unauthenticated_access)
    co_return Error{
        Code::conflict,
        "without its rule this port would be open to everybody, as the sandbox's others "
        "are; close those first (allow_unauthenticated_access), or take the port back",
        "PORT_WOULD_BE_OPEN"};
  CO_TRY_DO(PortRules(records->database()).drop(box->record.id, port));
  on_change(box->record.id);
  co_return co_await synced();
}

}  // namespace glovebox::engine
