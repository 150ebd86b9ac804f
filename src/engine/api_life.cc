// Suspending and resuming by hand. Waking needs no call: every operation does it.
#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;

// 202: it was begun now (and is done: it takes less than an answer); 200: there was nothing to do.
static http::Response answer(ApiState& api, const Request& request, const std::string& sandbox,
                             bool changed) {
  auto record = api.engine.get(sandbox);
  if (!record) return http::empty(changed ? 202 : 200);  // deleted meanwhile
  return http::json(changed ? 202 : 200, wire::encode_record(as_seen(std::move(*record), request)));
}

Reply suspend_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(changed, ended_is_a_state(co_await api.engine.suspend(sandbox)));
  co_return answer(api, request, sandbox, changed);
}

Reply resume_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(changed, ended_is_a_state(co_await api.engine.resume(sandbox)));
  co_return answer(api, request, sandbox, changed);
}

}  // namespace glovebox::engine
