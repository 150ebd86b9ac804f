// Volumes: our own routes, and the platform's list of file systems.
#include "engine/api_state.h"
#include "engine/volumes.h"
#include "net/task.h"
#include "wire/decode.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

namespace {

Task<std::string> list_of(ApiState& api) {
  CO_TRY(volumes, api.engine.volumes().list());
  std::string list;
  for (const auto& volume : volumes) list += str(list.empty() ? "" : ",", encode(volume));
  co_return list;
}

}  // namespace

Reply create_volume(ApiState& api, Request request) {
  CO_TRY(value, wire::parse_json(request.body));
  CO_TRY(members, wire::Members::of(value));
  CO_TRY(name, members.text("name", 1024));
  CO_TRY(size, members.integer("size_mb", 1, std::int64_t{1} << 40));
  members.done();
  if (!name) co_return members.wrong("name", "must name the volume");
  CO_TRY(volume, co_await api.engine.create_volume(*name, size.value_or(Volume().size_mb)));
  co_return http::json(201, encode(volume));
}

Reply list_volumes(ApiState& api, Request) {
  CO_TRY(list, co_await list_of(api));
  co_return http::json(200, str("{\"volumes\":[", list, "]}"));
}

Reply list_file_systems(ApiState& api, Request) {
  CO_TRY(list, co_await list_of(api));
  co_return http::json(200, str("{\"items\":[", list, "],\"pagination\":{\"next\":null}}"));
}

Reply get_volume(ApiState& api, Request request) {
  CO_TRY(volume, api.engine.volumes().get(request.param("volume")));
  co_return http::json(200, encode(volume));
}

Reply remove_volume(ApiState& api, Request request) {
  CO_TRY_DO(co_await api.engine.remove_volume(request.param("volume")));
  co_return http::empty(204);
}

Reply attach_volume(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(wanted, wire::decode_attach(request.body));
  CO_TRY(record, co_await api.engine.attach_volume(sandbox, std::move(wanted)));
  co_return http::json(200, wire::encode_record(as_seen(std::move(record), request)));
}

Reply detach_volume(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(place, wire::decode_detach(request.body));
  CO_TRY(record, co_await api.engine.detach_volume(sandbox, std::move(place)));
  co_return http::json(200, wire::encode_record(as_seen(std::move(record), request)));
}

}  // namespace glovebox::engine
