// The steward's way in is kept open, and while it sleeps somebody looks whether a webhook was lost.
#include <boost/json.hpp>

#include "base/log.h"
#include "gateway/steward_impl.h"
#include "net/task.h"
#include "wire/decode.h"
#include "wire/sandbox.h"

namespace glovebox::gateway {

namespace {

using StewardPtr = std::shared_ptr<Steward>;

struct Sleep {
  std::optional<Steady::time_point> since;  // or since the queue was looked at last
  std::optional<Steady::time_point> missed_since;
  bool missed = false;  // and that was said
};

// Our own service tells which environment a key is for; of another one it must have been said.
Task<bool> learn_environment(StewardPtr steward) {
  Outgoing out{.method = "GET", .target = "/glovebox/v1/credential"};
  CO_TRY(answer, co_await ask(steward, Side::service, std::move(out)));
  const bool said = !steward->options.may.environment.empty();
  if (answer.status / 100 != 2) {
    if (!said || answer.status >= 500 || answer.status == 429)
      co_return Error{Code::unavailable, str("the service answered ", answer.status)};
    steward->may.environment = steward->options.may.environment;
    co_return true;
  }
  CO_TRY(value, wire::parse_json(answer.body), "what the key is for");
  CO_TRY(members, wire::Members::of(value));
  CO_TRY(kind, members.text("kind", 64));
  CO_TRY(environment, members.text("environment_id", 128));
  steward->is_ours = true;
  steward->may.environment = said ? steward->options.may.environment : environment.value_or("");
  if (kind != "environment" || !plain_id(steward->may.environment))
    co_return Error{Code::forbidden, "the key is not one of an environment"};
  co_return true;
}

Task<std::optional<wire::SandboxRecord>> find_box(StewardPtr steward) {
  Outgoing out{.method = "GET", .target = "/sandboxes/" + http::encode_path(steward->options.box)};
  CO_TRY(answer, co_await ask(steward, Side::engine, std::move(out)));
  if (answer.status == 404 || answer.status == 410) co_return std::optional<wire::SandboxRecord>();
  if (answer.status / 100 != 2)
    co_return Error{Code::unavailable, str("the engine answered ", answer.status)};
  CO_TRY(record, wire::decode_record(answer.body), "the engine's record");
  if (record.status != wire::State::running && record.status != wire::State::suspended)
    co_return std::optional<wire::SandboxRecord>();  // it is on its way somewhere
  co_return std::optional(std::move(record));
}

// Once for each life of the uplink, of the box, or of its network; that wakes it.
Task<void> open_way(std::shared_ptr<Uplink::Impl> impl, std::string box) {
  std::vector<std::string> others;
  for (const auto& [id, door] : impl->doors)
    if (id != box) others.push_back(id);
  for (const std::string& id : others) drop_door(*impl, id, "another box is the steward's");
  CO_TRY(door, make_door(*impl, box));
  if (door->server) co_return ok;
  Outgoing out{.method = "POST",
               .target = str("/sandboxes/", box, "/uplink"),
               .body = str(R"({"port":)", impl->steward->options.port, '}')};
  out.headers.set("Content-Type", "application/json");
  CO_TRY(answer, co_await ask(impl->steward, Side::engine, std::move(out)));
  if (answer.status / 100 != 2)
    co_return Error{Code::unavailable,
                    str("the engine answered ", answer.status, ": ", answer.body.substr(0, 200))};
  co_return ok;
}

// A webhook that was lost while it slept. What the queue offers is taken along: to the steward it
// is the answer of its next poll.
Task<void> look_into_queue(StewardPtr steward, std::string box) {
  http::Request about{
      .method = "GET",
      .query = str("reclaim_older_than_ms=", steward->options.reclaim_older_than_ms),
      .params = {{"environment", steward->may.environment}}};
  std::optional<Offered> offered;
  CO_TRY(answer, co_await poll_queue(steward, std::move(about), &offered));
  if (answer.status / 100 != 2)
    co_return Error{Code::unavailable, str("the queue answered ", answer.status)};
  if (!offered) co_return ok;
  log::info("steward.woken", {{"box", box}, {"work", offered->work}});
  steward->in_hand = std::move(offered);
  steward->in_hand_since = Steady::now();
  // Whatever is asked of the box wakes it; its own net is then long due.
  Outgoing out{.method = "GET", .target = "/api/v1/health"};
  out.headers.set("X-Tensorlake-Sandbox-Id", box);
  CO_TRY_DO(co_await ask(steward, Side::engine, std::move(out)));
  co_return ok;
}

// Said once: deliveries fail meanwhile, and nobody takes the work they tell of. It may be about to
// be made.
void tell_of_missing(const Steward& steward, Sleep& sleep) {
  if (!sleep.missed_since) sleep.missed_since = Steady::now();
  if (sleep.missed || Steady::now() - *sleep.missed_since < steward.options.net) return;
  sleep.missed = true;
  log::warn("steward.no_box", {{"name", steward.options.box},
                               {"advice", "glovebox orchestrate --mode=webhook-sandbox makes it"}});
}

Task<void> look(std::shared_ptr<Uplink::Impl> impl, std::shared_ptr<Sleep> sleep) {
  StewardPtr steward = impl->steward;
  if (steward->may.environment.empty())
    CO_TRY_DO(co_await learn_environment(steward), "the environment");
  CO_TRY(record, co_await find_box(steward), "the steward's box");
  if (!record) {
    tell_of_missing(*steward, *sleep);
    co_return ok;
  }
  sleep->missed_since.reset();
  sleep->missed = false;
  CO_TRY_DO(co_await open_way(impl, record->id), "the steward's way");
  const bool asleep = record->status == wire::State::suspended || record->tier == "paused";
  if (!asleep) {
    sleep->since.reset();
    co_return ok;
  }
  if (!sleep->since) sleep->since = Steady::now();
  if (Steady::now() - *sleep->since < steward->options.net) co_return ok;
  sleep->since = Steady::now();
  co_return co_await look_into_queue(std::move(steward), record->id);
}

}  // namespace

Task<void> keep_steward(std::weak_ptr<Uplink::Impl> weak) {
  auto sleep = std::make_shared<Sleep>();
  for (bool failing = false;;) {
    auto impl = weak.lock();
    if (!impl || impl->closing) co_return ok;
    const Millis pause = impl->steward->options.look;
    auto looked = co_await look(std::move(impl), sleep);
    if (!looked && looked.error().code == Code::cancelled) co_return looked;
    if (!looked && !std::exchange(failing, true))
      log::warn("steward.keep", {{"error", looked.error().what}});
    if (looked) failing = false;
    CO_TRY_DO(co_await net::sleep(pause));
  }
}

}  // namespace glovebox::gateway
