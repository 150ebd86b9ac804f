// Snapshots, and what is made of them.
#include "engine/api_state.h"
#include "net/task.h"
#include "wire/snapshot.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

namespace {

// An id that cannot be one is an unknown one: it is a part of a path further down.
Result<std::string> snapshot_param(const Request& request) {
  std::string id = request.param("id");
  if (!wire::valid_id(id))
    return Error{Code::not_found, "no snapshot has such an id", "SNAPSHOT_NOT_FOUND"};
  return id;
}

}  // namespace

Reply take_snapshot(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(wanted, wire::decode_take_snapshot(request.body));
  CO_TRY(record, ended_is_a_state(co_await api.engine.snapshot(sandbox, std::move(wanted))));
  co_return http::json(202, wire::encode_snapshot_taken(record));
}

Reply copy_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  int times = 1;
  if (auto text = request.query_value("times")) {
    auto number = parse_int<int>(*text);
    if (!number) co_return Error{Code::invalid, "times: must be a whole number"};
    times = *number;
  }
  CO_TRY(source, api.engine.get(sandbox));
  CO_TRY(copies, co_await api.engine.copy(source.id, times));
  for (wire::SandboxRecord& copy : copies) copy = as_seen(std::move(copy), request);
  co_return http::json(201, wire::encode_copies(source.id, copies));
}

Reply rollback_sandbox(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(snapshot, wire::decode_rollback(request.body));
  CO_TRY(record, co_await api.engine.rollback(sandbox, snapshot));
  co_return http::json(200, wire::encode_record(as_seen(std::move(record), request)));
}

Reply list_snapshots(ApiState& api, Request) {
  CO_TRY(records, api.engine.snapshots());
  co_return http::json(200, wire::encode_snapshots(records));
}

Reply get_snapshot(ApiState& api, Request request) {
  CO_TRY(id, snapshot_param(request));
  CO_TRY(record, api.engine.get_snapshot(id));
  co_return http::json(200, wire::encode_snapshot(record));
}

Reply delete_snapshot(ApiState& api, Request request) {
  CO_TRY(id, snapshot_param(request));
  CO_TRY_DO(co_await api.engine.delete_snapshot(id));
  co_return http::empty(204);
}

static Task<void> send_export(ApiState& api, std::string id, http::BodyWriter& out) {
  return api.engine.export_snapshot(
      std::move(id), [&out](std::string piece) { return out.write(std::move(piece)); });
}

Reply export_snapshot(ApiState& api, Request request) {
  CO_TRY(id, snapshot_param(request));
  CO_TRY_DO(api.engine.check_snapshot(id));
  Response response;
  response.headers.set("Content-Type", "application/zstd");
  response.headers.set("Content-Disposition",
                       str("attachment; filename=\"", id, ".snapshot.tar.zst\""));
  response.stream = [&api, id](http::BodyWriter& out) { return send_export(api, id, out); };
  co_return response;
}

static Task<std::string> next_piece(std::shared_ptr<http::BodyReader> body) {
  co_return co_await body->read();
}

Reply import_snapshot(ApiState& api, Request request) {
  CO_TRY(record, co_await api.engine.import_snapshot(
                     [body = request.body_stream] { return next_piece(body); }));
  co_return http::json(201, wire::encode_snapshot(record));
}

}  // namespace glovebox::engine
