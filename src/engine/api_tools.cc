// The agent tools of a sandbox. A call is a process of its hand; one with a key outlives the
// request that started it, and can be asked for again.
#include <algorithm>

#include "engine/api_state.h"
#include "net/task.h"
#include "wire/trees.h"

namespace glovebox::engine {

using http::Request;

namespace {

constexpr std::size_t kMaxToolResult = 16 << 20;
constexpr std::size_t kMaxKey = 128;
// Of a call with a key, which nobody need be waiting for: longer than any tool allows itself.
constexpr std::uint32_t kKeyedLimitMs = 15 * 60 * 1000;

Result<std::string> key_of(const Request& request) {
  auto key = request.headers.get("Idempotency-Key");
  if (!key) return std::string();
  bool plain = std::ranges::all_of(*key, [](char c) { return c > ' ' && c < 127; });
  if (key->empty() || key->size() > kMaxKey || !plain)
    return Error{Code::invalid,
                 str("Idempotency-Key: must be 1 to ", kMaxKey, " printable characters")};
  return std::string(*key);
}

// ?root=DIR and ?read_only_root=DIR, each as often as there are some: as the hand wants them.
Result<std::vector<std::string>> roots_of(const Request& request) {
  std::vector<std::string> roots;
  for (const std::string& part : split(request.query, '&')) {
    Request one;
    one.query = part;
    for (auto [name, mark] : {std::pair{"root", "rw:"}, {"read_only_root", "ro:"}})
      if (auto path = one.query_value(name)) roots.push_back(mark + *path);
  }
  if (roots.size() > wire::kMaxToolRoots)
    return Error{Code::invalid, str("root: at most ", wire::kMaxToolRoots)};
  return roots;
}

wire::StartSpec spec_of(const std::string& tool, const std::string& key,
                        const std::vector<std::string>& roots) {
  wire::StartSpec spec;
  spec.kind = wire::Kind::tool;
  spec.argv = {tool};
  spec.stdin_mode = wire::StdinMode::pipe;
  if (!key.empty() || !roots.empty()) spec.argv.push_back(key);
  spec.argv.insert(spec.argv.end(), roots.begin(), roots.end());
  if (!key.empty()) spec.timeout_ms = kKeyedLimitMs;
  return spec;
}

// Goes on when the client has gone: a call is begun whole or not at all.
Task<void> start_keyed(std::shared_ptr<HandLink> hand, std::shared_ptr<ToolCalls> calls,
                       std::string key, wire::StartSpec spec, std::string input) {
  auto operation = co_await Operation::start(hand, std::move(spec));
  auto fed = operation ? co_await (*operation)->feed(std::move(input))
                       : Result<void>(std::move(operation.error()));
  if (!fed) {
    calls->failed(key, std::move(fed.error()));
    co_return ok;
  }
  (*operation)->let_go();
  calls->started(key, (*operation)->info().handle);
  co_return ok;
}

Task<std::shared_ptr<Operation>> begin_keyed(ApiState& api, std::shared_ptr<HandLink> hand,
                                             std::string key, wire::StartSpec spec,
                                             std::string input) {
  auto calls = api.tool_calls.of(hand);
  auto start = [&] { api.tasks.spawn("tool.start", start_keyed(hand, calls, key, spec, input)); };
  for (;;) {
    CO_TRY(handle, co_await calls->find_or_start(key, start));
    auto joined = co_await Operation::join(hand, handle);
    bool unknown = !joined && joined.error().code == Code::not_found;  // the hand has let go of it
    if (!unknown) co_return joined;
    calls->forgotten(key, handle);
  }
}

Task<std::shared_ptr<Operation>> begin(std::shared_ptr<HandLink> hand, wire::StartSpec spec,
                                       std::string input) {
  CO_TRY(operation, co_await Operation::start(hand, std::move(spec)));
  CO_TRY_DO(co_await operation->feed(std::move(input)));
  co_return operation;
}

// What the model is told where the tool itself said nothing; only what we cannot explain is an
// error of the call.
Result<wire::ToolCall> read_result(const Operation::Outcome& outcome) {
  auto result = wire::decode_tool_result(outcome.out);
  if (result) return result;
  if (outcome.info.status == wire::Status::oom_killed)
    return wire::ToolCall{"The tool was ended: the sandbox is out of memory.", true};
  if (outcome.info.timed_out)
    return wire::ToolCall{"The tool was ended: it ran for too long.", true};
  if (outcome.info.status == wire::Status::signaled)
    return wire::ToolCall{str("The tool was ended by signal ", outcome.info.signal, "."), true};
  return Error{Code::internal, str("the tool ended without a result: ", result.error().what)};
}

}  // namespace

Reply call_tool(ApiState& api, Request request) {
  constexpr std::string_view kTools[] = {"bash", "read", "write", "edit", "glob", "grep"};
  const std::string tool = request.param("tool");
  if (std::find(std::begin(kTools), std::end(kTools), tool) == std::end(kTools))
    co_return Error{Code::not_found,
                    "no such tool: there are bash, read, write, edit, glob and grep",
                    "UNKNOWN_TOOL"};
  CO_TRY(key, key_of(request));
  CO_TRY(roots, roots_of(request));
  CO_TRY_DO(wire::check_tool_input(request.body));
  CO_TRY(box, co_await box_of(api, request));
  wire::StartSpec spec = spec_of(tool, key, roots);
  auto begun = key.empty()
                   ? begin(box.hand, std::move(spec), std::move(request.body))
                   : begin_keyed(api, box.hand, key, std::move(spec), std::move(request.body));
  CO_TRY(operation, co_await std::move(begun));
  CO_TRY(outcome, co_await operation->finish(kMaxToolResult));
  if (!key.empty()) api.tool_calls.of(box.hand)->ended(key);
  CO_TRY(result, read_result(outcome));
  co_return http::json(200, wire::encode_tool_result(result));
}

Reply end_tool_call(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(handle, co_await api.tool_calls.of(box.hand)->find(request.param("key")));
  if (handle != 0) {
    auto ended = co_await box.hand->signal(handle, 9, true);
    bool was_gone =
        !ended && (ended.error().code == Code::conflict || ended.error().code == Code::not_found);
    if (!ended && !was_gone) co_return std::move(ended.error());
  }
  co_return http::empty(204);
}

}  // namespace glovebox::engine
