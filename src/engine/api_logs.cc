// The platform's view of what a sandbox's processes said, and which there are to ask for. Looking
// neither wakes a sandbox nor counts as using it.
#include <algorithm>
#include <boost/json.hpp>

#include "engine/api_state.h"
#include "engine/logs.h"
#include "engine/managed.h"
#include "http/text.h"
#include "net/task.h"

namespace glovebox::engine {

using http::Request;
namespace json = boost::json;

namespace {

constexpr std::size_t kMaxLines = 10'000;
constexpr int kInfo = 3, kError = 5;  // of trace 1, debug 2, info 3, warn 4, error 5, fatal 6

std::vector<std::string> values_of(const Request& request, std::string_view name) {
  std::vector<std::string> values;
  for (const std::string& pair : split(request.query, '&')) {
    const auto equals = pair.find('=');
    if (equals == pair.npos || http::form_decode(pair.substr(0, equals)) != name) continue;
    values.push_back(http::form_decode(std::string_view(pair).substr(equals + 1)));
  }
  return values;
}

Result<LogQuery> decode_query(const Request& request) {
  LogQuery query;
  for (std::string_view name : {"head", "tail"}) {
    auto text = request.query_value(name);
    if (!text) continue;
    auto number = parse_int<std::size_t>(*text);
    if (!number || *number < 1 || *number > kMaxLines)
      return Error{Code::invalid, str(name, ": must be a whole number from 1 to ", kMaxLines)};
    query.limit = *number;
    query.last = name == "tail";
  }
  std::vector<std::string> levels = values_of(request, "level");
  for (const std::string& level : levels)
    if (auto number = parse_int<int>(level); !number || *number < 1 || *number > 6)
      return Error{Code::invalid, "level: must be a whole number from 1 to 6"};
  auto has = [&](int level) {
    return std::ranges::find(levels, std::to_string(level)) != levels.end();
  };
  if (!levels.empty()) {
    query.with_stdout = has(kInfo);
    query.with_stderr = has(kError);
  }
  for (const std::string& id : values_of(request, "processId")) {
    auto handle = parse_int<std::uint64_t>(id);
    if (!handle) return Error{Code::invalid, "processId: must be one of those of `processes`"};
    query.handles.push_back(*handle);
  }
  query.containing = request.query_value("body").value_or("");
  if (auto token = request.query_value("nextToken"); token && !token->empty()) {
    TRY(positions, decode_positions(*token));
    query.from = std::move(positions);
  }
  return query;
}

// The same line always has the same one: of the sandbox, the process, and where the line ends.
std::string uuid_of(std::string_view sandbox, std::uint64_t handle, std::uint64_t end) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (unsigned char c : sandbox) hash = (hash ^ c) * 0x100000001b3;
  const std::uint64_t high = (hash & ~0xffffull) | 0x8000 | (handle >> 12 & 0xfff);
  const std::uint64_t low = 1ull << 63 | (handle & 0xfff) << 48 | (end & 0xffffffffffff);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (std::uint64_t half : {high, low})
    for (int shift = 60; shift >= 0; shift -= 4) out += kHex[half >> shift & 15];
  for (std::size_t at : {8, 13, 18, 23}) out.insert(at, "-");
  return out;
}

std::string command_of(const wire::ProcessInfo& info) {
  std::string out;
  for (const std::string& word : info.argv) out += (out.empty() ? "" : " ") + valid_utf8(word);
  return out;
}

json::object signal_json(const wire::SandboxRecord& record, const LogLine& entry,
                         const wire::ProcessInfo& info, const wire::Managed* managed) {
  const bool is_error = entry.line.stream == wire::kStderr;
  json::array resource{{"process.id", std::to_string(entry.handle)},
                       {"process.pid", std::to_string(info.pid)},
                       {"process.command", command_of(info)}};
  if (managed) resource.push_back(json::array{"process.managed.id", managed->id});
  return {
      {"timestamp", entry.line.unix_ms},
      {"uuid", uuid_of(record.id, entry.handle, entry.line.end)},
      {"namespace", record.space},
      {"application", "sandbox"},
      {"sandboxId", record.id},
      {"resourceAttributes", std::move(resource)},
      {"body", entry.line.text},
      {"logAttributes", json::serialize(json::object{{"stream", is_error ? "stderr" : "stdout"},
                                                     {"processId", std::to_string(entry.handle)},
                                                     {"missingBytes", entry.line.gap}})},
      {"level", is_error ? kError : kInfo}};
}

// Null where there is nothing to read from: it has ended, or its processes are gone until it is
// resumed.
Task<std::shared_ptr<HandLink>> reader_of(ApiState& api, wire::SandboxRecord record) {
  if (record.status == wire::State::terminated) co_return std::shared_ptr<HandLink>();
  auto hand = co_await api.engine.look(record.id);
  if (!hand && hand.error().code == Code::gone) co_return std::shared_ptr<HandLink>();
  co_return hand;
}

}  // namespace

Reply sandbox_logs(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(record, api.engine.get(sandbox));
  CO_TRY(query, decode_query(request));
  record = as_seen(std::move(record), request);
  CO_TRY(hand, co_await reader_of(api, record));
  LogPage page;
  if (hand) {
    auto read = co_await read_logs(hand, std::move(query));
    if (!read) co_return std::move(read.error());
    page = std::move(*read);
  }
  std::map<std::uint64_t, wire::Managed> managed;
  for (auto& [info, kept] : api.engine.managed().list(record.id))
    managed.emplace(info.handle, std::move(kept));
  json::array logs;
  for (const LogLine& entry : page.lines) {
    auto kept = managed.find(entry.handle);
    logs.push_back(signal_json(record, entry, page.processes.at(entry.handle),
                               kept == managed.end() ? nullptr : &kept->second));
  }
  // `nextToken` only while there is more: clients go on until it is missing. `followToken` is ours,
  // for those who wait for what is said next.
  const std::string token = encode_positions(page.reached);
  json::object out{{"logs", std::move(logs)}, {"followToken", token}};
  if (page.more) out["nextToken"] = token;
  co_return http::json(200, json::serialize(out));
}

Reply sandbox_log_processes(ApiState& api, Request request) {
  CO_TRY(sandbox, sandbox_param(request));
  CO_TRY(record, api.engine.get(sandbox));
  CO_TRY(hand, co_await reader_of(api, record));
  std::vector<LogCount> counts;
  if (hand) {
    auto counted = co_await count_logs(hand);
    if (!counted) co_return std::move(counted.error());
    counts = std::move(*counted);
  }
  json::array list;
  for (const LogCount& count : counts) {
    auto kept = api.engine.managed().find(record.id, count.info.handle);
    list.push_back(json::object{
        {"processId", std::to_string(count.info.handle)},
        {"processPid", std::to_string(count.info.pid)},
        {"processCommand", command_of(count.info)},
        {"processManagedId", kept ? kept->second.id : ""},
        {"processManagedName", kept ? kept->second.spec.name : ""},
        {"firstSeen", count.info.started_ms},
        {"lastSeen", std::max({count.info.started_ms, count.info.ended_ms, count.last_ms})},
        {"logCount", count.lines}});
  }
  co_return http::json(200, json::serialize(json::object{{"processes", std::move(list)}}));
}

}  // namespace glovebox::engine
