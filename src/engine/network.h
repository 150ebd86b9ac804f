// The links of boxes and what may pass them. A box whose policy is `none` has no link at all.
//
// A link has its names and addresses from the box's range of user ids, which no other box of the
// machine has: one claim for both. What the kernel holds of an instance are links that begin with
// its name and one table; the first change that needs the table makes it anew, whole.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/network_policy.h"
#include "engine/resolver_link.h"
#include "net/loop.h"
#include "sys/cgroup.h"
#include "sys/link.h"

namespace glovebox::engine {

class Network {
 public:
  struct Options {
    std::string instance;
    std::string prefix;  // of control groups: how a box's first process is found
    sys::CgroupRoots cgroups;
    std::string claims;    // the machine's directory of claims
    std::string range;     // "100.64.0.0/16": of the addresses of links
    std::string resolver;  // where the resolver takes descriptors; empty: there is none
  };
  struct Known {  // a box that is there at start
    std::string id;
    uid_t base = 0;
    NetworkPolicy policy;  // of a blank: what most boxes are given
    bool blank = false;    // may do without a link all the same
  };

  static Result<std::unique_ptr<Network>> make(net::Loop& loop, Options options);
  ~Network();

  // Once, before all else. Makes of what an earlier engine left what should be: links of nobody go,
  // boxes that should have one get it.
  Task<void> recover(std::vector<Known> boxes);
  // Sets up what all links share, once; says why where this machine cannot. Until somebody calls it
  // the machine is left alone.
  Task<void> prepare();
  // Why there can be no links; "" while nothing speaks against them.
  const std::string& trouble() const { return trouble_; }

  // The policy is in force when this returns, also for connections there are. The box must have its
  // first process; again with another policy is how it changes, and with the same one nothing is
  // done: what most boxes are given is attached to those that wait, where nobody can use it yet.
  Task<void> attach(std::string id, uid_t base, NetworkPolicy policy);
  // The box has ended: rules and link go.
  Task<void> detach(std::string id);
  bool linked(const std::string& id) const;

  // All of this instance goes, and, if it is the last one, what was changed for all.
  Task<void> release();

 private:
  class Kernel;
  Network(net::Loop& loop, std::unique_ptr<Kernel> kernel, std::string resolver);
  Task<void> make_link(std::string id, uid_t base);
  Task<void> reap();
  Task<void> watch();
  void note(const std::string& id, bool has_link);
  std::unique_ptr<Kernel> kernel_;  // on the pool's thread; all below on the loop's
  std::string trouble_;
  bool ready_ = false;
  std::set<std::string> linked_;  // ids
  std::map<std::string, NetworkPolicy> in_force_;
  std::vector<std::string> doomed_;       // links about to be deleted, together
  std::size_t reaped_ = 0, to_reap_ = 0;  // how many links were, and will have been
  net::Event reaped_more_;
  bool reaping_ = false;
  net::Pool pool_{1};  // in order; the kernel's lock of the network lets nobody be quicker
  std::unique_ptr<ResolverLink> resolver_;
  net::TaskGroup work_;
};

}  // namespace glovebox::engine
