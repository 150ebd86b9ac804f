// Terminals: sessions that outlive their sockets. A session is a process with a terminal; its id is
// made of the handle, so there is nothing here to remember, and nothing to lose with the engine.
#include <algorithm>

#include "base/clock.h"
#include "engine/api_state.h"
#include "engine/api_stdin.h"
#include "net/task.h"
#include "wire/token.h"

namespace glovebox::engine {

using http::Request;
using http::Response;
using http::WebSocket;

namespace {

constexpr std::size_t kMaxSessions = 64;  // alive, in one sandbox
constexpr Millis kTokenLife = std::chrono::hours(24);
constexpr Millis kHangupGrace{5'000};  // from SIGHUP to SIGKILL
constexpr Millis kAfterEnd{1'000};     // for sockets to see why their session ended
constexpr Millis kReadyLimit{60'000};
constexpr std::uint8_t kData = 0, kResize = 1, kReady = 2, kExit = 3;
constexpr int kDone = 1000, kTerminated = 1001, kBadMessage = 1008;
constexpr const char* kTerminatedReason = "session terminated";
constexpr std::uint32_t kMaxRows = 500, kMaxCols = 1000;

Error unknown_session() {
  return {Code::not_found, "no such terminal session", "SESSION_NOT_FOUND"};
}

Task<wire::ProcessInfo> find_session(std::shared_ptr<HandLink> hand, std::string session) {
  auto handle = wire::pty_handle(session);
  if (!handle) co_return unknown_session();
  auto info = co_await hand->get(*handle);
  if (!info && info.error().code == Code::not_found) co_return unknown_session();
  if (info && !info->pty) co_return unknown_session();
  co_return info;
}

std::string verb_of(std::uint64_t handle) { return str("pty:", handle); }

std::string given_token(const Request& request) {
  if (auto header = request.headers.get("X-PTY-Token")) return std::string(*header);
  return request.query_value("token").value_or("");
}

Task<void> until_exit(std::shared_ptr<HandLink> hand, std::uint64_t handle) {
  CO_TRY(attachment, co_await hand->attach(handle, false, UINT64_MAX >> 1));
  for (;;) {
    CO_TRY(event, co_await attachment->next(net::kForever));
    if (std::holds_alternative<ExitedEvent>(event)) co_return ok;
  }
}

Task<void> end_session(ApiState& api, std::shared_ptr<HandLink> hand, std::string sandbox,
                       std::uint64_t handle) {
  (void)co_await hand->signal(handle, 1, true);
  (void)co_await net::first_of(until_exit(hand, handle), net::sleep(kHangupGrace));
  hand->signal_now(handle, 9, true);  // also what an obedient shell left behind
  (void)co_await net::sleep(kAfterEnd);
  api.ending_ptys.erase({sandbox, handle});
  co_return ok;
}

// One client at one terminal.
struct Viewer {
  ApiState& api;
  RunningBox box;
  wire::ProcessInfo info;
  bool is_ready = false;
  net::Event ready;
};
using ViewerPtr = std::shared_ptr<Viewer>;

Task<void> send(WebSocket& socket, std::uint8_t what, std::string payload) {
  payload.insert(payload.begin(), static_cast<char>(what));
  co_return co_await socket.write(WebSocket::Kind::binary, std::move(payload));
}

// Its sandbox has ended.
bool is_over(const Viewer& viewer) {
  auto record = viewer.api.engine.get(viewer.box.record.id);
  return !record || record->status == wire::State::terminated;
}

Task<void> say_goodbye(ViewerPtr viewer, WebSocket& socket, const wire::ProcessInfo& end) {
  if (viewer->api.ending_ptys.contains({viewer->box.record.id, end.handle}))
    co_return co_await socket.close(kTerminated, kTerminatedReason);
  const std::int64_t code =
      end.status == wire::Status::exited ? end.exit_code : -static_cast<std::int64_t>(end.signal);
  CO_TRY_DO(co_await send(socket, kExit, be(static_cast<std::uint64_t>(code), 4)));
  co_return co_await socket.close(kDone, str("exit:", code));
}

// From what is still in the ring on: who comes back sees where they were. With hold: a terminal
// waits for its reader.
Task<void> show(ViewerPtr viewer, WebSocket& socket) {
  while (!viewer->is_ready) {
    auto waited = co_await viewer->ready.wait(kReadyLimit);
    if (!waited && waited.error().code == Code::timeout)
      co_return co_await socket.close(kBadMessage, "READY did not come");
    CO_TRY_DO(std::move(waited));
  }
  CO_TRY(attachment, co_await viewer->box.hand->attach(viewer->info.handle, true, 0));
  for (;;) {
    auto next = co_await attachment->next(net::kForever);
    if (!next && is_over(*viewer)) co_return co_await socket.close(kTerminated, kTerminatedReason);
    if (!next) co_return std::move(next.error());
    ProcessEvent& event = *next;
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      CO_TRY_DO(co_await send(socket, kData, std::move(output->bytes)));
    } else if (auto* gap = std::get_if<GapEvent>(&event)) {
      // Of a session's past only the last part is kept; that is no news at its start.
      if (gap->from > 0)
        CO_TRY_DO(co_await send(
            socket, kData,
            str("\r\n[… ", gap->to - gap->from, " bytes of output are missing …]\r\n")));
    } else {
      const wire::ProcessInfo end = std::get<ExitedEvent>(event).info;
      co_return co_await say_goodbye(viewer, socket, end);
    }
  }
}

Task<void> obey(ViewerPtr viewer, WebSocket& socket) {
  StdinFeed feed(viewer->api.loop, viewer->box.hand, viewer->info.handle);
  for (;;) {
    CO_TRY(message, co_await socket.read());
    if (message.kind != WebSocket::Kind::binary || message.data.empty())
      co_return co_await socket.close(kBadMessage, "binary messages only");
    const std::string_view payload = std::string_view(message.data).substr(1);
    switch (static_cast<std::uint8_t>(message.data[0])) {
      case kData: CO_TRY_DO(co_await feed.push(std::string(payload))); break;
      case kReady:
        viewer->is_ready = true;
        viewer->ready.notify();
        break;
      case kResize: {
        if (payload.size() != 4)
          co_return co_await socket.close(kBadMessage, "a size has four bytes");
        std::uint32_t cols = std::clamp<std::uint32_t>(be16(payload, 0), 1, kMaxCols);
        std::uint32_t rows = std::clamp<std::uint32_t>(be16(payload, 2), 1, kMaxRows);
        (void)co_await viewer->box.hand->resize(viewer->info.handle, rows,
                                                cols);  // it may have ended meanwhile
        break;
      }
      default: break;  // of clients newer than us
    }
  }
}

Task<void> view(ViewerPtr viewer, WebSocket& socket) {
  co_return co_await net::first_of(show(viewer, socket), obey(viewer, socket));
}

}  // namespace

bool is_pty_token(const ApiState& api, const Request& request) {
  return wire::verify(given_token(request), api.engine.token_key(), api.engine.instance(),
                      system_clock().unix_ms())
      .has_value();
}

Reply create_pty(ApiState& api, Request request) {
  CO_TRY(start, wire::decode_pty(request.body));
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(infos, co_await box.hand->list());
  auto alive = std::ranges::count_if(infos, [](const wire::ProcessInfo& info) {
    return info.pty && info.status == wire::Status::running;
  });
  if (static_cast<std::size_t>(alive) >= kMaxSessions)
    co_return Error{Code::exhausted,
                    str("there are ", alive, " terminal sessions, the limit of a sandbox"),
                    "TOO_MANY_SESSIONS"};
  auto info = co_await box.hand->start(std::move(start.spec));
  if (!info) co_return after_effect(std::move(info.error()));
  wire::Capability capability{api.engine.instance(),
                              box.record.id,
                              box.record.generation,
                              {verb_of(info->handle)},
                              system_clock().unix_ms() + kTokenLife.count()};
  co_return http::json(
      201, wire::encode_pty_created(*info, wire::sign(capability, api.engine.token_key())));
}

Reply list_ptys(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(infos, co_await box.hand->list());
  std::erase_if(infos, [](const wire::ProcessInfo& info) { return !info.pty; });
  co_return http::json(200, wire::encode_ptys(infos));
}

Reply get_pty(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_session(box.hand, request.param("id")));
  co_return http::json(200, wire::encode_pty(info));
}

Reply delete_pty(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_session(box.hand, request.param("id")));
  if (info.status == wire::Status::running &&
      api.ending_ptys.emplace(box.record.id, info.handle).second)
    api.tasks.spawn("pty.end", end_session(api, box.hand, box.record.id, info.handle));
  co_return http::empty(204);
}

Reply resize_pty(ApiState& api, Request request) {
  CO_TRY(size, wire::decode_resize(request.body));
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_session(box.hand, request.param("id")));
  CO_TRY_DO(co_await box.hand->resize(info.handle, size.first, size.second));
  co_return http::empty(204);
}

Reply pty_socket(ApiState& api, Request request) {
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(info, co_await find_session(box.hand, request.param("id")));
  auto capability = wire::verify(given_token(request), api.engine.token_key(),
                                 api.engine.instance(), system_clock().unix_ms());
  if (!capability ||
      !wire::allows(*capability, box.record.id, box.record.generation, verb_of(info.handle)))
    co_return Error{Code::forbidden, "the token does not open this session", "INVALID_TOKEN"};
  auto viewer = std::make_shared<Viewer>(Viewer{api, std::move(box), std::move(info)});
  Response response;
  response.upgrade = [viewer](WebSocket& socket) { return view(viewer, socket); };
  co_return response;
}

}  // namespace glovebox::engine
