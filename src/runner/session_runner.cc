// The calls: one after another, each until it is answered or need not be.
#include "runner/session_runner.h"

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "runner/result.h"
#include "runner/retry.h"
#include "runner/session_impl.h"

namespace glovebox::runner {

namespace {

using Impl = std::shared_ptr<SessionImpl>;
using Steady = std::chrono::steady_clock;

metrics::Counter answered_ok("runner_calls_total", "Tool calls, by how they ended.", R"(end="ok")");
metrics::Counter answered_error("runner_calls_total", "Tool calls, by how they ended.",
                                R"(end="error")");
metrics::Counter dropped("runner_calls_total", "Tool calls, by how they ended.",
                         R"(end="dropped")");
metrics::Counter unanswered("runner_calls_total", "Tool calls, by how they ended.",
                            R"(end="unanswered")");
metrics::Histogram call_seconds("runner_call_seconds",
                                "From taking a call to its result's receipt.");

// ---- executing

struct Attempt {
  std::optional<Result<ToolResult>> result;
};

// A task of its own, so that it can be cancelled while we go on. It holds all it needs: one that
// does not end in time is left behind.
Task<void> attempt_call(Impl impl, ToolCall call, std::shared_ptr<Attempt> attempt) {
  auto hands = impl->hands;
  attempt->result = co_await hands->call(std::move(call));
  impl->changed.notify();
  co_return ok;
}

// Waits until `done` says so, the present call has become pointless, or `limit` has passed.
template <class Done>
Task<void> wait_for(Impl impl, Millis limit, Done done) {
  net::Deadline deadline(limit);
  while (!done() && !impl->pointless()) {
    Millis left = deadline.left();
    if (left <= 0ms) co_return ok;
    auto waited = co_await impl->changed.wait(left);
    if (!waited && waited.error().code == Code::cancelled) co_return waited;
  }
  co_return ok;
}

// Code::gone where it became pointless. One that takes too long is answered with that: another
// attempt would take as long.
Task<ToolResult> call_once(Impl impl, ToolCall call) {
  const SessionOptions& options = impl->options;
  auto attempt = std::make_shared<Attempt>();
  net::TaskGroup group(impl->loop);
  group.spawn("call", attempt_call(impl, call, attempt));
  auto waited = co_await wait_for(impl, options.tool_limit + options.tool_grace,
                                  [&] { return attempt->result.has_value(); });
  const bool in_time = attempt->result.has_value();
  if (!in_time || !waited || impl->pointless()) {
    if (auto ended = co_await group.finish(options.cancel_limit); !ended)
      log::error("call.hangs", {{"session", impl->session}, {"call", call.id}});
  }
  if (!waited) co_return std::move(waited.error());
  if (impl->pointless()) co_return Error{Code::gone, "nobody waits for it any more"};
  // One that ended well while it was being cancelled has ended well.
  if (attempt->result && (in_time || *attempt->result)) co_return std::move(*attempt->result);
  co_return error_result(str("Error: the tool call did not finish within ",
                             options.tool_limit.count() / 1000, " seconds and was stopped"));
}

// A result in any case, but for Code::cancelled and Code::gone: what cannot be executed is answered
// with why.
Task<ToolResult> execute(Impl impl, Event call) {
  if (!call.input.starts_with('{'))
    co_return error_result("Error: the input of this call is not a JSON object");
  for (int attempt = 1;; ++attempt) {
    auto result = co_await call_once(impl, ToolCall{call.id, call.name, call.input});
    if (result || result.error().code == Code::cancelled || result.error().code == Code::gone)
      co_return result;
    log::warn("call.failed", {{"session", impl->session},
                              {"call", call.id},
                              {"tool", call.name},
                              {"attempt", attempt},
                              {"error", result.error().what}});
    if (attempt >= impl->options.hand_attempts)
      co_return error_result(str("Error: ", result.error().what));
    CO_TRY_DO(co_await wait_for(impl,
                                jittered(doubled(impl->options.first_hand_retry, attempt - 1, 30s)),
                                [] { return false; }));
    if (impl->pointless()) co_return Error{Code::gone, "nobody waits for it any more"};
  }
}

// ---- answering

// The service's last word about a result; `ok` also where somebody else's answer was first.
Task<void> send(Impl impl, std::string event) {
  const auto start = Steady::now();
  for (int attempt = 0;; ++attempt) {
    auto sent = co_await impl->service.send(impl->session, event, impl->bearer);
    if (sent || impl->pointless()) co_return ok;
    if (sent.error().code == Code::cancelled || fatal(sent.error())) co_return sent;
    auto left =
        std::chrono::duration_cast<Millis>(impl->options.send_window - (Steady::now() - start));
    if (left <= 0ms) co_return sent;
    if (attempt == 0)
      log::warn("result.resend", {{"session", impl->session}, {"error", sent.error().what}});
    const SessionOptions& options = impl->options;
    Millis wait = jittered(doubled(options.first_send_retry, attempt, options.longest_send_retry));
    CO_TRY_DO(co_await wait_for(impl, std::min(wait, left), [] { return false; }));
    if (impl->pointless()) co_return ok;
  }
}

// True: the call is settled. A result the service does not take (its size, its shape) is replaced
// by a short text that says so; a call that cannot even have that is left alone, because asking
// again would go on for ever.
Task<bool> answer(Impl impl, Event call, ToolResult result) {
  auto sent = co_await send(impl, result_event(call, result));
  if (sent) co_return true;
  if (sent.error().code == Code::cancelled) co_return std::move(sent.error());
  log::error("result.refused",
             {{"session", impl->session}, {"call", call.id}, {"error", sent.error().what}});
  const int status = status_of(sent.error());
  if (status != 400 && status != 413 && status != 422) co_return false;
  auto why = error_result(
      str("Error: the result of this call could not be delivered: ", sent.error().what));
  auto replaced = co_await send(impl, result_event(call, why));
  if (!replaced && replaced.error().code == Code::cancelled) co_return std::move(replaced.error());
  co_return replaced || status_of(replaced.error()) == status;
}

Task<void> serve(Impl impl, Event call) {
  const auto start = Steady::now();
  impl->call_since = start;
  log::debug("call.start", {{"session", impl->session}, {"call", call.id}, {"tool", call.name}});
  CO_FAULT("runner.before_call");
  auto result = co_await execute(impl, call);
  CO_FAULT("runner.after_call");
  Result<bool> settled = false;
  if (result) settled = co_await answer(impl, call, *result);
  CO_FAULT("runner.after_answer");
  impl->call_since.reset();
  if (!result && result.error().code == Code::cancelled) co_return std::move(result.error());
  if (!settled && settled.error().code == Code::cancelled) co_return std::move(settled.error());

  // Our own answer, heard on the stream, makes a call unwanted as well.
  const bool was_dropped = !result;
  const double seconds = std::chrono::duration<double>(Steady::now() - start).count();
  impl->calls.done(settled && *settled, Steady::now());
  if (was_dropped)
    dropped.add();
  else if (!*settled)
    unanswered.add();
  else
    (result->is_error ? answered_error : answered_ok).add();
  call_seconds.observe(seconds);
  log::info("call.end", {{"session", impl->session},
                         {"call", call.id},
                         {"tool", call.name},
                         {"end", was_dropped        ? "dropped"
                                 : !*settled        ? "unanswered"
                                 : result->is_error ? "error"
                                                    : "ok"},
                         {"seconds", seconds}});
  co_return ok;
}

// ---- the run

Task<SessionRunner::End> take_calls(Impl impl) {
  using End = SessionRunner::End;
  for (;;) {
    if (impl->failure) co_return *impl->failure;
    if (impl->calls.ended()) co_return End::terminated;
    if (impl->stopping) co_return End::asked;
    if (auto call = impl->calls.next()) {
      CO_TRY_DO(co_await serve(impl, std::move(*call)));
      continue;
    }
    Millis wait = net::kForever;
    if (auto deadline = impl->calls.deadline()) {
      wait = std::chrono::ceil<Millis>(*deadline - Steady::now());
      if (wait <= 0ms) co_return End::idle;
    }
    auto waited = co_await impl->changed.wait(wait);
    if (!waited && waited.error().code == Code::cancelled) co_return std::move(waited.error());
  }
}

Task<SessionRunner::End> run_session(Impl impl) {
  net::TaskGroup group(impl->loop);
  group.spawn("events", follow(impl));
  auto end = co_await take_calls(impl);
  CO_TRY_DO(co_await group.finish(impl->options.cancel_limit), "events of ", impl->session);
  co_return end;
}

}  // namespace

std::string_view name(SessionRunner::End end) {
  switch (end) {
    case SessionRunner::End::idle: return "idle";
    case SessionRunner::End::terminated: return "terminated";
    case SessionRunner::End::asked: return "asked";
  }
  return "?";
}

struct SessionRunner::Impl : SessionImpl {
  using SessionImpl::SessionImpl;
};

SessionRunner::SessionRunner(net::Loop& loop, Service& service, std::shared_ptr<Hands> hands,
                             std::string session, Bearer bearer, SessionOptions options)
    : impl_(std::make_shared<Impl>(loop, service, std::move(hands), std::move(session),
                                   std::move(bearer), options)) {}
SessionRunner::~SessionRunner() = default;

Task<SessionRunner::End> SessionRunner::run() { return run_session(impl_); }

void SessionRunner::stop() {
  impl_->stopping = true;
  impl_->changed.notify();
}

void SessionRunner::set_send_window(Millis window) { impl_->options.send_window = window; }

std::size_t SessionRunner::open_calls() const { return impl_->calls.open(); }

Millis SessionRunner::stalled_for() const {
  if (!impl_->call_since) return 0ms;
  return std::chrono::duration_cast<Millis>(Steady::now() - *impl_->call_since);
}

}  // namespace glovebox::runner
