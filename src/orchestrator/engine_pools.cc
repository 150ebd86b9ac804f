// The pool of the engine's that sessions' boxes come from.
#include <boost/json.hpp>

#include "net/task.h"
#include "orchestrator/engine_api_impl.h"
#include "runner/json.h"
#include "wire/sandbox.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

static std::string pools(const std::string& id) {
  return "/sandbox-pools/" + http::encode_path(id);
}

Task<std::string> EngineApi::set_pool(std::string id, Pool pool) {
  const wire::Resources usual;  // what a create has that names none; of pools it is less
  auto body = [&](std::int64_t warm) {
    return json::serialize(
        json::object{{"image", pool.image},
                     {"timeout_secs", pool.timeout_secs},
                     {"resources", json::object{{"cpus", usual.cpus},
                                                {"memory_mb", usual.memory_mb},
                                                {"ephemeral_disk_mb", usual.disk_mb}}},
                     {"warm_containers", warm},
                     {"network", json::object{{"allow_internet_access", false}}}});
  };
  if (!id.empty()) {
    auto changed = co_await impl_->request("PUT", pools(id), body(pool.warm));
    if (changed) co_return id;
    if (changed.error().code != Code::not_found) co_return std::move(changed.error());
  }
  CO_TRY(made, co_await impl_->request("POST", "/sandbox-pools", body(0)));
  CO_TRY(value, runner::parse_json(made.body), "the new pool");
  std::string pool_id = runner::text(value, "pool_id");
  if (pool_id.empty()) co_return Error{Code::internal, "the engine's answer names no pool"};
  co_return pool_id;
}

Task<void> EngineApi::remove_pool(std::string id) {
  auto removed = co_await impl_->request("DELETE", pools(id));
  if (!removed && removed.error().code != Code::not_found) co_return std::move(removed.error());
  co_return ok;
}

}  // namespace glovebox::orchestrator
