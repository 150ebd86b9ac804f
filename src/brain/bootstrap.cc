#include "brain/bootstrap.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "brain/agent_definition.h"
#include "brain/auth.h"
#include "brain/ids.h"

namespace glovebox::brain {

namespace json = boost::json;

namespace {

constexpr std::string_view kSystem =
    "You work in a sandbox of your own: a Linux machine on which your tools run commands and read, "
    "write and edit files. Your working directory is kept for the whole session. Do what you are "
    "asked to do, check that it worked, and then say in a few words what you did.";

}  // namespace

Result<void> make_defaults(Store& store, const std::string& model) {
  TRY(made, store.setting("default_environment_id"));
  if (!made.empty()) return ok;
  const Micros now = now_us();
  EnvironmentRow environment{.id = new_id("env"),
                             .name = "default",
                             .description = "Made at the first start",
                             .created_at = now,
                             .updated_at = now};
  TRY(definition, make_definition({{"name", "default"},
                                   {"description", "Made at the first start"},
                                   {"model", model},
                                   {"system", kSystem},
                                   {"tools", {{{"type", "agent_toolset_20260401"}}}}}));
  AgentRow agent{.id = new_id("agent"),
                 .name = "default",
                 .definition = json::serialize(definition),
                 .created_at = now,
                 .updated_at = now};
  TRY_DO(store.atomically([&]() -> Result<void> {
    TRY_DO(store.add_environment(environment));
    TRY_DO(store.add_agent(agent));
    TRY_DO(store.set_setting("default_environment_id", environment.id));
    return store.set_setting("default_agent_id", agent.id);
  }));
  log::info("brain.first_start", {{"environment", environment.id}, {"agent", agent.id}});
  return ok;
}

Result<void> register_embedded_key(Store& store, const Secret& key) {
  if (key.empty()) return ok;
  TRY(environment, store.setting("default_environment_id"));
  if (!store.environment(environment)) {
    log::warn("brain.no_default_environment", {{"environment", environment}});
    return ok;
  }
  const std::string hash = hash_of(key.reveal());
  TRY(known, store.key_by_hash(hash));
  if (known && !known->revoked_at) return ok;
  if (known) return Error{Code::conflict, "the environment key was revoked: make another one"};
  TRY(keys, store.keys(environment));
  const Micros now = now_us();
  KeyRow row{.id = new_id("ekey"),
             .environment_id = environment,
             .name = "embedded",
             .hash = hash,
             .hint = hint_of(key.reveal()),
             .embedded = true,
             .created_at = now};
  TRY_DO(store.atomically([&]() -> Result<void> {
    for (const KeyRow& old : keys)
      if (old.embedded) TRY_DO(store.revoke_key(old.id, now));
    return store.add_key(row);
  }));
  log::info("brain.embedded_key", {{"key", row.id}, {"environment", environment}});
  return ok;
}

}  // namespace glovebox::brain
