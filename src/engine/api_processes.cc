// Processes of a sandbox, but for their output (api_output.cc); health and info.
#include <algorithm>

#include "base/clock.h"
#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
using http::Response;

constexpr std::string_view kNotWritable = "STDIN_NOT_WRITABLE";

// What clients see as processes: programs without a terminal. Terminals are sessions, files and
// tools are calls.
static bool is_process(const wire::ProcessInfo& info) {
  return info.kind == wire::Kind::exec && !info.pty;
}

// By pid. Names are of managed processes, which come later: so none is known.
Task<wire::ProcessInfo> find_process(std::shared_ptr<HandLink> hand, std::string id) {
  const Error unknown{Code::not_found, "no such process"};
  auto pid = parse_int<std::uint32_t>(id);
  if (!pid || *pid == 0) co_return unknown;
  auto info = co_await hand->get(*pid | wire::kByPid);
  if (!info && info.error().code == Code::not_found) co_return unknown;
  // A terminal's process is found too: who has its pid may signal it.
  if (info && info->kind != wire::Kind::exec) co_return unknown;
  co_return info;
}

Reply box_health(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY_DO(co_await box.hand->ping(Seconds(10)));
  co_return http::json(200, R"({"healthy":true})");
}

Reply box_info(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(infos, co_await box.hand->list());
  auto running = std::ranges::count_if(infos, [](const wire::ProcessInfo& info) {
    return info.status == wire::Status::running && is_process(info);
  });
  // Handles are counted from 1 and given to file operations and tool calls, too.
  std::uint64_t total = box.hand->welcome().total;
  for (const wire::ProcessInfo& info : infos) total = std::max(total, info.handle);
  const std::int64_t uptime_ms =
      std::max<std::int64_t>(0, system_clock().unix_ms() - box.record.created_at);
  co_return http::json(200, str(R"({"version":")", json_escape(box.hand->welcome().hand_version),
                                R"(","uptime_secs":)", uptime_ms / 1000, R"(,"running_processes":)",
                                running, R"(,"total_processes":)", total, '}'));
}

Reply start_process(ApiState& api, Request request) {
  CO_TRY(start, wire::decode_process_start(request.body));
  if (start.managed)
    co_return Error{Code::unsupported,
                    "name, restart and health_check: managed processes come with a later version",
                    "NOT_IMPLEMENTED"};
  CO_TRY(box, co_await box_of(api, request));
  auto info = co_await box.hand->start(std::move(start.spec));
  if (!info) co_return after_effect(std::move(info.error()));
  co_return http::json(201, wire::encode_process(*info));
}

Reply list_processes(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(infos, co_await box.hand->list());
  std::erase_if(infos, [](const wire::ProcessInfo& info) { return !is_process(info); });
  co_return http::json(200, wire::encode_processes(infos));
}

Reply get_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(box.hand, request.param("p")));
  co_return http::json(200, wire::encode_process(info));
}

Reply kill_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(box.hand, request.param("p")));
  // Also of an ended one: what it left behind in its group goes with it.
  auto killed = co_await box.hand->signal(info.handle, 9, true);
  if (!killed && info.status == wire::Status::running && killed.error().code != Code::conflict &&
      killed.error().code != Code::not_found)
    co_return std::move(killed.error());
  co_return http::empty(204);
}

Reply signal_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(box.hand, request.param("p")));
  CO_TRY(number, wire::decode_signal(request.body));
  CO_TRY_DO(co_await box.hand->signal(info.handle, number, false));
  co_return http::json(200, R"({"success":true})");
}

Reply write_stdin(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(box.hand, request.param("p")));
  if (!info.stdin_writable)
    co_return Error{Code::invalid, "the process has no stdin to write to, or it is closed",
                    std::string(kNotWritable)};
  for (;;) {
    CO_TRY(piece, co_await request.body_stream->read());
    if (piece.empty()) co_return http::empty(204);
    auto written = co_await box.hand->write_stdin(info.handle, std::move(piece));
    if (written) continue;
    // To the hand it is a conflict with the process's state; the API calls it a wrong request.
    if (written.error().tag == kNotWritable) written.error().code = Code::invalid;
    co_return after_effect(std::move(written.error()));
  }
}

Reply close_stdin(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(box.hand, request.param("p")));
  if (info.stdin_writable) CO_TRY_DO(co_await box.hand->close_stdin(info.handle));
  co_return http::empty(204);  // a second close finds what it wants
}

}  // namespace glovebox::engine
