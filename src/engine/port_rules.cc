#include "engine/port_rules.h"

#include <algorithm>

#include "base/fault.h"

namespace glovebox::engine {

namespace {

// No secret has a space in it: webhook_key() sees to that.
std::string joined(const std::vector<Secret>& secrets) {
  std::string text;
  for (const Secret& secret : secrets) text += str(text.empty() ? "" : " ", secret.reveal());
  return text;
}

}  // namespace

Result<std::vector<wire::IngressPort>> PortRules::of(const std::string& sandbox) {
  TRY(rows, db_.prepare("SELECT port, verify, secrets FROM port_rules WHERE sandbox = ? "
                        "ORDER BY port"));
  rows.bind(sandbox);
  std::vector<wire::IngressPort> rules;
  for (;;) {
    TRY(row, rows.step());
    if (!row) return rules;
    // Its signature is what opens it: a sender of webhooks has no token.
    wire::IngressPort rule{
        .port = static_cast<int>(rows.integer(0)), .open = true, .verify = rows.text(1)};
    for (const std::string& secret : split(rows.text(2), ' ')) rule.secrets.emplace_back(secret);
    rules.push_back(std::move(rule));
  }
}

Result<void> PortRules::expose(Records& records, const wire::SandboxRecord& record,
                               const wire::IngressPort& port) {
  TRY(transaction, db_.begin());
  TRY(statement, db_.prepare("INSERT OR REPLACE INTO port_rules(sandbox, port, verify, secrets) "
                             "VALUES (?, ?, ?, ?)"));
  statement.bind(record.id, port.port, port.verify, joined(port.secrets));
  TRY_DO(statement.run());
  FAULT("ports.after_rule");
  TRY_DO(records.save(record));
  TRY_DO(transaction.commit());
  FAULT("ports.after_commit");
  return ok;
}

Result<void> PortRules::save(Records& records, const wire::SandboxRecord& record) {
  TRY(rules, of(record.id));
  std::erase_if(rules, [&](const wire::IngressPort& rule) {
    return std::ranges::find(record.exposed_ports, rule.port) != record.exposed_ports.end();
  });
  if (rules.empty()) return records.save(record);
  TRY(transaction, db_.begin());
  for (const wire::IngressPort& rule : rules) TRY_DO(drop(record.id, rule.port));
  TRY_DO(records.save(record));
  return transaction.commit();
}

Result<void> PortRules::drop(const std::string& sandbox, int port) {
  TRY(statement, db_.prepare("DELETE FROM port_rules WHERE sandbox = ? AND port = ?"));
  statement.bind(sandbox, port);
  return statement.run();
}

Result<void> PortRules::forget(const std::string& sandbox) {
  TRY(statement, db_.prepare("DELETE FROM port_rules WHERE sandbox = ?"));
  statement.bind(sandbox);
  return statement.run();
}

Result<void> PortRules::sweep() {
  return db_.exec(
      "DELETE FROM port_rules WHERE sandbox NOT IN "
      "(SELECT id FROM sandboxes WHERE status <> 'terminated')");
}

Result<std::vector<wire::IngressPort>> exposed_ports(store::Database& db,
                                                     const wire::SandboxRecord& record) {
  TRY(rules, PortRules(db).of(record.id));
  std::vector<wire::IngressPort> ports;
  for (int port : record.exposed_ports) {
    auto rule = std::ranges::find(rules, port, &wire::IngressPort::port);
    ports.push_back(rule != rules.end()
                        ? *rule
                        : wire::IngressPort{.port = port,
                                            .open = record.allow_unauthenticated_access,
                                            .verify = "",
                                            .secrets = {}});
  }
  return ports;
}

}  // namespace glovebox::engine
