// Processes of a box, and the uplink's way into it.
#include <boost/json.hpp>

#include "net/task.h"
#include "orchestrator/engine_api_impl.h"
#include "runner/json.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

namespace {

constexpr std::size_t kEventLimit = 4 << 20;

std::int64_t number(const json::value& value, std::string_view key) {
  const json::value* found = runner::member(value, key);
  return found && found->is_int64() ? found->get_int64() : 0;
}

Result<BoxProcess> process_of(const json::value& value) {
  BoxProcess process{.pid = number(value, "pid"), .command = runner::text(value, "command")};
  if (process.pid <= 0) return Error{Code::internal, "the engine's record of a process has no pid"};
  process.running = runner::text(value, "status") == "running";
  if (const json::value* code = runner::member(value, "exit_code"); code && code->is_int64())
    process.exit_code = code->get_int64();
  if (const json::value* args = runner::member(value, "args"); args && args->is_array())
    for (const json::value& arg : args->get_array())
      process.args.push_back(arg.is_string() ? std::string(std::string_view(arg.get_string()))
                                             : "");
  return process;
}

std::string target_of(std::int64_t pid, std::string_view rest = "") {
  return str("/api/v1/processes/", pid, rest);
}

}  // namespace

Task<std::vector<BoxProcess>> EngineApi::processes(std::string box) {
  CO_TRY(answer, co_await impl_->request("GET", "/api/v1/processes", "", Impl::of_box(box)));
  CO_TRY(value, runner::parse_json(answer.body), "processes of ", box);
  const json::value* list = runner::member(value, "processes");
  if (!list || !list->is_array()) co_return Error{Code::internal, "no list of processes"};
  std::vector<BoxProcess> processes;
  for (const json::value& one : list->get_array()) {
    CO_TRY(process, process_of(one));
    processes.push_back(std::move(process));
  }
  co_return processes;
}

Task<BoxProcess> EngineApi::process(std::string box, std::int64_t pid) {
  CO_TRY(answer, co_await impl_->request("GET", target_of(pid), "", Impl::of_box(box)));
  CO_TRY(value, runner::parse_json(answer.body), "process ", pid);
  co_return process_of(value);
}

std::string EngineApi::Impl::process_json(const NewProcess& process, std::chrono::seconds limit) {
  json::object env;
  for (const auto& [name, value] : process.env) env[name] = value;
  json::object body{{"command", process.command},
                    {"args", json::array(process.args.begin(), process.args.end())},
                    {"env", std::move(env)}};
  if (limit.count() > 0) body["timeout"] = limit.count();
  return json::serialize(body);
}

Task<BoxProcess> EngineApi::start(std::string box, NewProcess process) {
  CO_TRY(answer, co_await impl_->request("POST", "/api/v1/processes",
                                         Impl::process_json(process, 0s), Impl::of_box(box)));
  CO_TRY(value, runner::parse_json(answer.body), "the new process");
  co_return process_of(value);
}

Task<void> EngineApi::signal(std::string box, std::int64_t pid, int number) {
  CO_TRY_DO(co_await impl_->request("POST", target_of(pid, "/signal"),
                                    str(R"({"signal":)", number, '}'), Impl::of_box(box)));
  co_return ok;
}

Task<void> EngineApi::follow(std::string box, std::int64_t pid,
                             std::function<void(std::string)> line) {
  http::Headers headers = Impl::of_box(box);
  headers.set("Authorization", str("Bearer ", impl_->key->reveal()));
  headers.set("Accept", "text/event-stream");
  CO_TRY(answer, co_await impl_->client.open("GET", target_of(pid, "/output/follow"), "",
                                             std::move(headers)));
  if (answer.status != 200)
    co_return Error{Code::unavailable, str("output of ", pid, ": status ", answer.status)};
  http::SseReader events(*answer.body, kEventLimit);
  for (;;) {
    CO_TRY(event, co_await events.next());
    if (!event || event->event == "eof") co_return ok;
    auto value = runner::parse_json(event->data);
    if (value) line(runner::text(*value, "line"));
  }
}

Task<UplinkPlace> EngineApi::open_uplink(std::string box, int port) {
  CO_TRY(answer,
         co_await impl_->request("POST", str("/sandboxes/", http::encode_path(box), "/uplink"),
                                 str(R"({"port":)", port, '}')));
  CO_TRY(value, runner::parse_json(answer.body), "the uplink's place");
  co_return UplinkPlace{runner::text(value, "url"), runner::text(value, "program")};
}

}  // namespace glovebox::orchestrator
