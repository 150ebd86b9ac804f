// The output of processes: what was captured, what comes, and `run`, which is both and the exit.
#include "engine/api_lines.h"
#include "engine/api_state.h"
#include "net/task.h"

namespace glovebox::engine {

using http::BodyWriter;
using http::Request;
using http::Response;

namespace {

constexpr Millis kHeartbeat{15'000};     // proxies cut what is silent for longer
constexpr Millis kCatchUpLimit{30'000};  // for output that the hand has already

std::uint8_t stream_of(std::string_view word) {
  return word == "stdout" ? wire::kStdout : word == "stderr" ? wire::kStderr : LineFormat::kBoth;
}

// Writes what `source` has, to the process's end. `Source` has next(), as Attachment and Operation
// do.
template <class Source>
Task<wire::ProcessInfo> relay(std::shared_ptr<Source> source, BodyWriter& out, LineFormat format) {
  LineCutter cutter;
  LineEvents events(std::move(format));
  for (;;) {
    auto event = co_await source->next(kHeartbeat);
    if (!event && event.error().code == Code::timeout) {
      if (!events.in_event()) CO_TRY_DO(co_await out.write(": still here\n\n"));
      continue;
    }
    if (!event) co_return std::move(event.error());
    std::vector<Line> lines;
    auto* exited = std::get_if<ExitedEvent>(&*event);
    if (auto* output = std::get_if<OutputEvent>(&*event)) cutter.add(*output, lines);
    if (auto* gap = std::get_if<GapEvent>(&*event)) cutter.add(*gap, lines);
    if (exited) cutter.end(lines);
    std::string frames = events.encode(std::move(lines));
    if (!frames.empty()) CO_TRY_DO(co_await out.write(std::move(frames)));
    if (exited) co_return std::move(exited->info);
  }
}

Task<void> stream_run(std::shared_ptr<Operation> operation, BodyWriter& out) {
  const wire::ProcessInfo& info = operation->info();
  CO_TRY_DO(co_await out.write(str(R"(data: {"pid":)", info.pid, R"(,"started_at":)",
                                   info.started_ms, R"(,"handle":)", info.handle, "}\n\n")));
  CO_TRY(end, co_await relay(operation, out, LineFormat{.with_stream = true}));
  co_return co_await out.write(str("data: ", encode_exit(end), "\n\n"));
}

Task<void> stream_follow(std::shared_ptr<HandLink> hand, std::shared_ptr<Attachment> attachment,
                         LineFormat format, BodyWriter& out) {
  CO_TRY_DO(co_await relay(attachment, out, std::move(format)));
  (void)hand;  // kept for as long as its attachment is read
  co_return co_await out.write("event: eof\ndata: {}\n\n");
}

Response event_stream(std::function<Task<void>(BodyWriter&)> stream) {
  Response response;
  response.headers.set("Content-Type", "text/event-stream");
  response.headers.set("Cache-Control", "no-store");
  response.stream = std::move(stream);
  return response;
}

// To a list in JSON; gives how many of them are of that stream.
std::size_t add_lines(const std::vector<Line>& lines, std::uint8_t only, std::string& list) {
  std::size_t count = 0;
  for (const Line& line : lines) {
    if (only != LineFormat::kBoth && line.stream != only && !line.gap) continue;
    list += str(list.empty() ? "" : ",", '"', json_escape(line.text), '"');
    ++count;
  }
  return count;
}

// The last (or last but `skip`) part of the path: handlers of three paths ask which it was.
std::string_view part_of(std::string_view path, int skip) {
  for (; skip > 0; --skip) path = path.substr(0, path.rfind('/'));
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Reply get_output(ApiState& api, Request request) {
  const std::uint8_t only = stream_of(part_of(request.path, 0));
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_process(api, box, request.param("p")));
  CO_TRY(attachment, co_await box.hand->attach(info.handle, false, 0));
  // Up to where it was when we asked: a process that goes on writing must not keep us.
  const std::uint64_t until = attachment->info().output_end;
  LineCutter cutter;
  std::string list;
  std::size_t count = 0;
  for (std::uint64_t at = 0; at < until;) {
    CO_TRY(event, co_await attachment->next(kCatchUpLimit));
    std::vector<Line> lines;
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      cutter.add(*output, lines);
      at = output->offset + output->bytes.size();
    } else if (auto* gap = std::get_if<GapEvent>(&event)) {
      cutter.add(*gap, lines);
      at = gap->to;
    } else {
      break;
    }
    // A line is text at once: many empty ones would take a hundred times what was kept.
    count += add_lines(lines, only, list);
  }
  std::vector<Line> rest;
  cutter.end(rest);
  count += add_lines(rest, only, list);
  co_return http::json(
      200, str(R"({"pid":)", info.pid, R"(,"lines":[)", list, R"(],"line_count":)", count, '}'));
}

Reply follow_output(ApiState& api, Request request) {
  const std::uint8_t only = stream_of(part_of(request.path, 1));
  CO_TRY(box, co_await box_of(api, request, Purpose::watch));
  CO_TRY(info, co_await find_process(api, box, request.param("p")));
  // Without hold: a follower that sleeps stops nobody, it loses the middle and is told so.
  CO_TRY(attachment, co_await box.hand->attach(info.handle, false, 0));
  LineFormat format{.event = "output", .with_stream = only == LineFormat::kBoth, .only = only};
  co_return event_stream(
      [hand = box.hand, format, shared = std::shared_ptr<Attachment>(std::move(attachment))](
          BodyWriter& out) { return stream_follow(hand, shared, format, out); });
}

// With hold: nothing is lost, a slow client slows the process down. The process lives for this
// request: when the client goes away it is killed with all it started.
Reply run_process(ApiState& api, Request request) {
  CO_TRY(start, wire::decode_process_start(request.body));
  if (start.managed)
    co_return Error{Code::invalid, "name, restart and health_check: are not for /processes/run"};
  CO_TRY(box, co_await box_of(api, request));
  start.spec.stdin_mode = wire::StdinMode::closed;
  CO_TRY(operation, co_await Operation::start(box.hand, std::move(start.spec)));
  co_return event_stream([operation](BodyWriter& out) { return stream_run(operation, out); });
}

}  // namespace glovebox::engine
