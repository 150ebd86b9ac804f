// What a steward's request becomes. A steward is a box that takes one environment's work by itself:
// what it may do is what an orchestrator does, for that environment, with boxes it made, within
// what the operator offers. Nothing of its request is passed on; what is not on the list does not
// exist.
//
// Pure: no socket; of the records it only reads. steward_rules_test.cc is the table of what is
// refused.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/steward_records.h"
#include "gateway/uplink_rules.h"
#include "http/message.h"

namespace glovebox::gateway {

// What the operator said; nothing of it is the box's to choose.
struct Stewardship {
  std::string environment;  // "" until it is known
  http::Headers headers;    // of every request to the service
  // What boxes may be made of; "*" in a list: any.
  std::vector<std::string> images, snapshots, volumes;
  bool internet = false;
  bool volumes_go = false;  // the sessions' own, after a while
  std::int64_t longest_timeout_secs = 3600;
};

enum class Act {
  credential,  // which environment this is
  poll,
  acknowledge,
  heartbeat,
  stop,
  session,  // of an item it was given: status and metadata
  history,  // and which calls there are, without a word of what they say
  stream,
  refuse,  // calls, with an error: where the session cannot have its box
  tell,    // why, in the session
  grant,   // a way to its session for a box of its own
  renew,
  revoke,
  find,  // the engine's: boxes of its own, by name
  create,
  make_volume,
  remove_volume,
  remove,
  resume,
  open,
  processes,
  start,  // the worker, and nothing else
  process,
  signal,
  follow,
  awake,  // keeps its own box awake for as long as the answer is read
};

enum class Side { service, engine, uplink };  // who is asked

struct StewardRule {
  Act act;
  Side side;
  std::string_view method, pattern;
  std::size_t body_limit = 0;
};
std::span<const StewardRule> steward_rules();

inline constexpr std::string_view kSessionBoxes = "agent-";  // how names of its boxes begin
bool is_session_box(std::string_view name);
inline constexpr std::string_view kWorkerProgram = "/dev/glovebox/glovebox-worker";

// Of Side::service and Side::engine. Code::not_found: nothing of this steward's, whether it exists
// or not. Code::forbidden: not offered, or a session or volume that is not known here, which says
// nothing of whether it lives. Code::invalid: not understood.
Result<Outgoing> steward_request(const Stewardship& may, const StewardRecords& knows, Act act,
                                 const http::Request& request);

// Of Side::uplink: the item of a grant, for a box it made.
struct GrantOf {
  std::string box, work;
};
Result<GrantOf> steward_grant(const StewardRecords& knows, Act act, const http::Request& request);

// What the box hears of a session: {"id", "status", "archived_at", "metadata"}. Of its events:
// kinds and ids, whether a call may run, and nothing that anybody said.
Result<std::string> session_for_steward(std::string_view json);
Result<std::string> history_for_steward(std::string_view json);
std::string event_for_steward(std::string_view json);

// An item as the service offers it; nullopt: there is none.
struct Offered {
  std::string work, session;
  Secret token;
  std::string json;  // for the box: with something else in its secret's place
};
Result<std::optional<Offered>> offered_to_steward(std::string_view json);

}  // namespace glovebox::gateway
