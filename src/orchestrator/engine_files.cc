// What is put into a box in pieces, and the programs in there that put it in its place.
#include <boost/json.hpp>

#include "net/task.h"
#include "orchestrator/engine_api_impl.h"
#include "runner/json.h"

namespace glovebox::orchestrator {

namespace json = boost::json;

namespace {

constexpr std::size_t kEventLimit = 4 << 20, kSaid = 600;

// The source as the client reads it; its own error is kept apart from those of the connection.
Task<std::string> watched(std::function<Task<std::string>()> source,
                          std::shared_ptr<std::optional<Error>> failed) {
  auto piece = co_await source();
  if (!piece) *failed = piece.error();
  co_return piece;
}

std::string ending_of(const json::value& frame) {
  if (const json::value* late = runner::member(frame, "timed_out"); late && late->is_bool())
    return "out of time";
  if (const json::value* memory = runner::member(frame, "oom_killed"); memory && memory->is_bool())
    return "out of memory";
  const json::value* signal = runner::member(frame, "signal");
  if (signal && signal->is_int64()) return str("signal ", signal->get_int64());
  const json::value* code = runner::member(frame, "exit_code");
  return code && code->is_int64() ? str("exit code ", code->get_int64()) : "no exit code";
}

}  // namespace

Task<void> EngineApi::upload(std::string box, std::string path,
                             std::function<Task<std::string>()> source) {
  http::Headers headers = Impl::of_box(box);
  headers.set("Authorization", str("Bearer ", impl_->key->reveal()));
  headers.set("Content-Type", "application/octet-stream");
  auto failed = std::make_shared<std::optional<Error>>();
  auto watching = [source = std::move(source), failed] { return watched(source, failed); };
  auto answer =
      co_await impl_->client.upload("PUT", "/api/v1/files?path=" + http::encode_query(path),
                                    std::move(watching), {}, std::move(headers));
  if (*failed) co_return std::move(**failed);
  if (!answer) co_return std::move(answer.error());
  if (answer->status / 100 != 2) co_return Impl::error_of(*answer);
  co_return ok;
}

Task<BoxRun> EngineApi::run(std::string box, NewProcess process, std::chrono::seconds limit) {
  http::Headers headers = Impl::of_box(box);
  headers.set("Authorization", str("Bearer ", impl_->key->reveal()));
  headers.set("Content-Type", "application/json");
  headers.set("Accept", "text/event-stream");
  CO_TRY(answer,
         co_await impl_->client.open("POST", "/api/v1/processes/run",
                                     Impl::process_json(process, limit), std::move(headers)));
  if (answer.status != 200) {
    http::ClientResponse refused{answer.status, std::move(answer.headers), {}};
    CO_TRY(said, co_await answer.body->read());
    refused.body = std::move(said);
    co_return Impl::error_of(refused);
  }
  http::SseReader events(*answer.body, kEventLimit);
  BoxRun run;
  for (;;) {
    CO_TRY(event, co_await events.next());
    if (!event) co_return Error{Code::unavailable, "the program's output was cut off"};
    CO_TRY(frame, runner::parse_json(event->data), "output of a program");
    if (const json::value* line = runner::member(frame, "line"); line && line->is_string()) {
      if (run.said.size() < kSaid)
        run.said += str(run.said.empty() ? "" : "\n",
                        runner::text(frame, "line").substr(0, kSaid - run.said.size()));
      continue;
    }
    if (!runner::member(frame, "exit_code") && !runner::member(frame, "signal")) continue;
    run.how = ending_of(frame);
    run.done = run.how == "exit code 0";
    co_return run;
  }
}

}  // namespace glovebox::orchestrator
