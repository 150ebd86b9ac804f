// Processes of a sandbox, but for their output (api_output.cc); health and info.
#include <algorithm>

#include "base/clock.h"
#include "engine/api_state.h"
#include "engine/managed.h"
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

static Error no_process() { return {Code::not_found, "no such process"}; }

// With what is kept of it, where it is a managed one: by its name, its id, or the pid of its
// process.
static Task<wire::ProcessEntry> find_entry(ApiState& api, RunningBox box, std::string id) {
  ManagedProcesses& managed = api.engine.managed();
  if (auto kept = managed.find(box.record.id, id)) {
    auto info = co_await box.hand->get(kept->first.handle);
    if (info) kept->first = std::move(*info);
    // The hand forgets long ended ones, and has none yet of one that never came up.
    if (!info && info.error().code != Code::not_found) co_return std::move(info.error());
    co_return wire::ProcessEntry(std::move(kept->first), std::move(kept->second));
  }
  auto pid = parse_int<std::uint32_t>(id);
  if (!pid || *pid == 0) co_return no_process();
  auto info = co_await box.hand->get(wire::kByPid | *pid);
  if (!info && info.error().code == Code::not_found) co_return no_process();
  if (!info) co_return std::move(info.error());
  // A terminal's process is found too: who has its pid may signal it.
  if (info->kind != wire::Kind::exec) co_return no_process();
  wire::ProcessEntry entry(std::move(*info), std::nullopt);
  if (auto kept = managed.find(box.record.id, entry.first.handle))
    entry.second = std::move(kept->second);
  co_return entry;
}

Task<wire::ProcessInfo> find_process(ApiState& api, RunningBox box, std::string id) {
  CO_TRY(entry, co_await find_entry(api, std::move(box), std::move(id)));
  co_return std::move(entry.first);
}

static http::Response process_answer(int status, const wire::ProcessEntry& entry) {
  return http::json(status,
                    wire::encode_process(entry.first, entry.second ? &*entry.second : nullptr));
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
  CO_TRY(box, co_await box_of(api, request));
  if (start.managed) {
    auto kept = co_await api.engine.managed().start(box.record.id, std::move(request.body));
    if (!kept) co_return after_effect(std::move(kept.error()));
    co_return process_answer(201, *kept);
  }
  auto info = co_await box.hand->start(std::move(start.spec));
  if (!info) co_return after_effect(std::move(info.error()));
  co_return http::json(201, wire::encode_process(*info));
}

Reply list_processes(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(infos, co_await box.hand->list());
  std::vector<wire::ProcessEntry> entries;
  for (wire::ProcessInfo& info : infos)
    if (is_process(info)) entries.emplace_back(std::move(info), std::nullopt);
  for (auto& [last, managed] : api.engine.managed().list(box.record.id)) {
    auto at = std::ranges::find_if(entries, [&last](const wire::ProcessEntry& entry) {
      return entry.first.handle == last.handle;
    });
    if (at == entries.end())
      entries.emplace_back(std::move(last), std::move(managed));
    else
      at->second = std::move(managed);
  }
  co_return http::json(200, wire::encode_processes(entries));
}

Reply get_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(entry, co_await find_entry(api, box, request.param("p")));
  co_return process_answer(200, entry);
}

Reply kill_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(entry, co_await find_entry(api, box, request.param("p")));
  const auto& [info, managed] = entry;
  if (managed) {
    CO_TRY_DO(co_await api.engine.managed().stop(box.record.id, managed->id));
    co_return http::empty(204);
  }
  // Also of an ended one: what it left behind in its group goes with it.
  auto killed = co_await box.hand->signal(info.handle, 9, true);
  if (!killed && info.status == wire::Status::running && killed.error().code != Code::conflict &&
      killed.error().code != Code::not_found)
    co_return std::move(killed.error());
  co_return http::empty(204);
}

Reply restart_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(entry, co_await find_entry(api, box, request.param("p")));
  if (!entry.second)
    co_return Error{Code::invalid,
                    "only a managed process can be restarted: start it with name, restart or "
                    "health_check",
                    "NOT_MANAGED"};
  auto kept = co_await api.engine.managed().restart(box.record.id, entry.second->id);
  if (!kept) co_return after_effect(std::move(kept.error()));
  co_return process_answer(200, *kept);
}

Reply signal_process(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(api, box, request.param("p")));
  CO_TRY(number, wire::decode_signal(request.body));
  CO_TRY_DO(co_await box.hand->signal(info.handle, number, false));
  co_return http::json(200, R"({"success":true})");
}

Reply write_stdin(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(api, box, request.param("p")));
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
  CO_TRY(info, co_await find_process(api, box, request.param("p")));
  if (info.stdin_writable) CO_TRY_DO(co_await box.hand->close_stdin(info.handle));
  co_return http::empty(204);  // a second close finds what it wants
}

}  // namespace glovebox::engine
