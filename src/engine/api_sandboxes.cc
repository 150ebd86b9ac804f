// The lifecycle of sandboxes, the platform's few calls, and what is refused by name until it comes.
#include <algorithm>

#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

namespace {

constexpr std::size_t kMaxPage = 1000;

// There is one namespace; whatever a client calls it, it sees the same sandboxes.
Result<void> check_space(const Request& request) {
  auto plain = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  std::string space = request.param("ns");
  if (space.size() > 64 || !std::ranges::all_of(space, plain))
    return Error{Code::invalid,
                 "the namespace has letters, digits, '-', '_' and '.' only, at most 64"};
  return ok;
}

}  // namespace

Result<ListQuery> list_query(const Request& request) {
  ListQuery query;
  if (auto limit = request.query_value("limit")) {
    auto number = parse_int<std::size_t>(*limit);
    if (!number || *number < 1 || *number > kMaxPage)
      return Error{Code::invalid, str("limit: must be a whole number from 1 to ", kMaxPage)};
    query.limit = *number;
  }
  if (auto direction = request.query_value("direction")) {
    if (*direction != "forward" && *direction != "backward")
      return Error{Code::invalid, "direction: must be forward or backward"};
    query.backward = *direction == "backward";
  }
  if (auto status = request.query_value("status"); status && !status->empty()) {
    if (!wire::state_of(*status)) return Error{Code::invalid, "status: is no state of a sandbox"};
    query.status = *status;
  }
  query.cursor = request.query_value("cursor").value_or("");
  return query;
}

// What the record cannot know by itself. The URL is made of how this request came in, so that
// forwarded ports and containers work; which sandbox is meant the client then says by Host or
// header.
wire::SandboxRecord as_seen(wire::SandboxRecord record, const Request& request) {
  // The ingress says how it came in to it. Who says so himself changes what he himself is told.
  const bool secure = request.headers.get("X-Forwarded-Proto") == "https";
  if (auto host = request.headers.get("Host"))
    record.sandbox_url = str(secure ? "https" : request.scheme, "://", *host);
  if (std::string space = request.param("ns"); !space.empty()) record.space = space;
  return record;
}

// An id that cannot be one is an unknown one; nothing behind this has to think about odd
// characters.
Result<std::string> sandbox_param(const Request& request) {
  TRY_DO(check_space(request));
  std::string sandbox = request.param("sbx");
  bool plain = !sandbox.empty() && sandbox.size() <= 64 && std::ranges::all_of(sandbox, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!plain)
    return Error{Code::not_found, "no sandbox has such an id or name", "SANDBOX_NOT_FOUND"};
  return sandbox;
}

Reply create_sandbox(ApiState& api, Request request) {
  CO_TRY_DO(check_space(request));
  CO_TRY(create, wire::decode_create(request.body));
  const std::string snapshot = create.snapshot_id;
  auto record = co_await api.engine.create(std::move(create));
  // It may have been deleted while its files were copied: the error is about the copy then.
  if (!record && !snapshot.empty())
    if (auto there = api.engine.get_snapshot(snapshot); !there) co_return std::move(there.error());
  if (!record) co_return std::move(record.error());
  co_return http::json(201, wire::encode_created(as_seen(std::move(*record), request)));
}

Reply list_sandboxes(ApiState& api, Request request) {
  CO_TRY_DO(check_space(request));
  CO_TRY(query, list_query(request));
  CO_TRY(page, api.engine.list(std::move(query)));
  for (wire::SandboxRecord& record : page.records) record = as_seen(std::move(record), request);
  co_return http::json(200, wire::encode_list(page.records, page.next, page.previous));
}

Reply get_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(record, api.engine.get(sandbox));
  co_return http::json(200, wire::encode_record(as_seen(std::move(record), request)));
}

Reply update_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(update, wire::decode_update(request.body));
  if (update.empty()) co_return Error{Code::invalid, "the body names nothing that can be changed"};
  CO_TRY(record, co_await api.engine.update(sandbox, std::move(update)));
  co_return http::json(200, wire::encode_record(as_seen(std::move(record), request)));
}

Reply delete_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY_DO(co_await api.engine.remove(sandbox));
  co_return http::empty(204);
}

// ---- what comes later

Reply comes_later(ApiState&, Request request) {
  constexpr std::string_view kVersion = "/v1/";
  std::string_view what = request.path;
  what.remove_prefix(what.rfind(kVersion) + kVersion.size());
  co_return Error{Code::unsupported,
                  str(request.method, " of `", what, "` comes with a later version"),
                  "NOT_IMPLEMENTED"};
}

}  // namespace glovebox::engine
