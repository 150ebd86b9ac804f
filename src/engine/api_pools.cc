// Sandbox pools: boxes made ahead, and claiming one.
#include "engine/api_state.h"
#include "net/task.h"
#include "wire/pool.h"

namespace glovebox::engine {

using http::Request;

namespace {

wire::Pool in_space(wire::Pool pool, const Request& request) {
  if (std::string space = request.param("ns"); !space.empty()) pool.space = space;
  return pool;
}

}  // namespace

Reply create_pool(ApiState& api, Request request) {
  CO_TRY(spec, wire::decode_pool_spec(request.body));
  CO_TRY(pool, co_await api.engine.create_pool(std::move(spec)));
  co_return http::json(201, wire::encode_pool_created(in_space(std::move(pool), request)));
}

Reply list_pools(ApiState& api, Request request) {
  std::vector<wire::Pool> pools = api.engine.pools();
  for (wire::Pool& pool : pools) pool = in_space(std::move(pool), request);
  co_return http::json(200, wire::encode_pools(pools));
}

Reply get_pool(ApiState& api, Request request) {
  CO_TRY(view, api.engine.pool(request.param("id")));
  co_return http::json(200,
                       wire::encode_pool(in_space(std::move(view.pool), request), view.containers));
}

// Replaces all of it but the network, which stays unless it is named.
Reply update_pool(ApiState& api, Request request) {
  CO_TRY(spec, wire::decode_pool_spec(request.body));
  CO_TRY(pool, co_await api.engine.update_pool(request.param("id"), std::move(spec)));
  co_return http::json(200, wire::encode_pool(in_space(std::move(pool), request)));
}

Reply delete_pool(ApiState& api, Request request) {
  CO_TRY_DO(co_await api.engine.remove_pool(request.param("id")));
  co_return http::empty(204);
}

Reply claim_from_pool(ApiState& api, Request request) {
  CO_TRY(wanted, wire::decode_claim(request.body));
  const bool configured = !wanted.file_systems.empty();
  CO_TRY(record, co_await api.engine.claim(request.param("id"), std::move(wanted)));
  record = as_seen(std::move(record), request);
  co_return http::json(201, configured ? wire::encode_claimed_with_file_systems(record)
                                       : wire::encode_created(record));
}

}  // namespace glovebox::engine
