// The events: the stream is opened first and the history read second, so that nothing falls between
// the two; ids make the overlap harmless.
#include "base/log.h"
#include "net/task.h"
#include "runner/retry.h"
#include "runner/session_impl.h"

namespace glovebox::runner {

namespace {

using Impl = std::shared_ptr<SessionImpl>;
using Steady = std::chrono::steady_clock;

constexpr int kPage = 1000, kSmallestPage = 1;

// A page may hold a thousand images: one that is too large is asked for in smaller ones.
Task<EventPage> page_of_history(Impl impl, std::string cursor, std::shared_ptr<int> size) {
  for (;;) {
    auto page = co_await impl->service.events(impl->session, cursor, *size, impl->bearer);
    if (page || page.error().tag != "ANSWER_TOO_LARGE" || *size <= kSmallestPage) co_return page;
    *size = std::max(*size / 10, kSmallestPage);
  }
}

Task<void> read_history(Impl impl) {
  auto size = std::make_shared<int>(kPage);
  impl->calls.begin_history();
  std::string cursor;
  do {
    CO_TRY(page, co_await page_of_history(impl, cursor, size));
    for (const Event& event : page.events) impl->calls.history(event, Steady::now());
    if (page.next == cursor) break;  // a service that turns in circles
    cursor = std::move(page.next);
  } while (!cursor.empty());
  impl->calls.end_history(Steady::now());
  impl->changed.notify();
  co_return ok;
}

// Until the session is over (`ok`), or the stream ends.
Task<void> listen(Impl impl, std::shared_ptr<EventStream> stream, std::shared_ptr<Millis> backoff) {
  for (;;) {
    CO_TRY(event, co_await stream->next());
    if (!event) co_return Error{Code::unavailable, "the stream ended"};
    *backoff = impl->options.first_reconnect;
    impl->calls.live(*event, Steady::now());
    impl->changed.notify();
    if (impl->calls.ended()) co_return ok;
  }
}

Task<void> attend(Impl impl, std::shared_ptr<Millis> backoff, std::shared_ptr<bool> attached) {
  CO_TRY(opened, co_await impl->service.stream(impl->session, impl->bearer));
  std::shared_ptr<EventStream> stream = std::move(opened);
  if (!std::exchange(*attached, true)) log::info("session.attached", {{"session", impl->session}});
  auto read = co_await read_history(impl);
  if (read) co_return co_await listen(impl, stream, backoff);
  if (read.error().code == Code::cancelled) co_return read;
  impl->calls.fail_history(Steady::now());
  log::warn("session.history", {{"session", impl->session}, {"error", read.error().what}});
  // What comes live is served meanwhile; what came before waits for the next reading.
  auto listened =
      co_await net::first_of(listen(impl, stream, backoff), net::sleep(impl->options.relist));
  if (impl->calls.ended() || !listened) co_return listened;
  co_return Error{Code::unavailable, "the history is to be read again"};
}

}  // namespace

Task<void> follow(Impl impl) {
  auto backoff = std::make_shared<Millis>(impl->options.first_reconnect);
  auto attached = std::make_shared<bool>(false);
  for (;;) {
    auto ended = co_await attend(impl, backoff, attached);
    if (ended || ended.error().code == Code::cancelled) co_return ended;
    if (fatal(ended.error())) {
      impl->failure = std::move(ended.error());
      impl->changed.notify();
      co_return ok;
    }
    if (std::exchange(*attached, false))
      log::info("session.detached", {{"session", impl->session}, {"error", ended.error().what}});
    CO_TRY_DO(co_await net::sleep(jittered(*backoff)));
    *backoff = std::min(*backoff * 2, impl->options.longest_reconnect);
  }
}

}  // namespace glovebox::runner
