// What the kernel is told about boxes' links and rules. Blocks; one thread at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "engine/forwarding.h"
#include "engine/network.h"
#include "engine/network_rules.h"
#include "sys/link.h"

namespace glovebox::engine {

class Network::Kernel {
 public:
  Kernel(Options options, sys::Ip4 range);

  // The table with the rules of all boxes we know, and forwarding.
  Result<void> set_up();
  Result<void> make_link(const std::string& id, uid_t base);
  Result<void> apply(const std::string& id, uid_t base, const NetworkPolicy& policy);
  // Ends what connections the box has to where it may not go (any more).
  Result<void> cut(const std::string& id, const NetworkPolicy& policy);
  bool has_rules(const std::string& id) const { return rules_.contains(id); }
  Result<void> forget(const std::string& id);  // its rules
  std::string link_of(const std::string& id) const;
  // Deletes the links of nobody; gives the ids that have a whole one.
  Result<std::set<std::string>> sweep(const std::vector<Known>& boxes);
  Result<void> delete_links(const std::vector<std::string>& names);
  // Puts back what somebody else took away ("flush ruleset" takes all there is).
  Result<void> check();
  Result<void> release();

  Result<Fd> first_process(const std::string& id) const;
  std::string link_name(uid_t base) const;
  bool is_set_up() const { return set_up_; }

 private:
  std::string table() const;
  std::string own_links() const;
  sys::LinkPlan plan(uid_t base) const;
  std::vector<std::string> addresses(uid_t base) const;

  Options options_;
  sys::Ip4 range_;
  bool set_up_ = false;
  bool ipv6_ = false;
  Guards guards_;
  std::map<std::string, uid_t> bases_;  // of boxes with a link
  std::map<std::string, RuleElements> rules_;
};

}  // namespace glovebox::engine
