// `glovebox worker poll`: claims items of a queue, and serves them here or by a script.
#include <sys/wait.h>

#include <boost/json.hpp>
#include <set>

#include "app/commands.h"
#include "app/well_known.h"
#include "app/worker.h"
#include "app/worker_script.h"
#include "base/log.h"
#include "net/deadline.h"
#include "net/task.h"
#include "runner/json.h"
#include "runner/retry.h"

namespace glovebox::app {

namespace {

using Steady = std::chrono::steady_clock;

constexpr int kBlockMs = 999;
constexpr Millis kEmptyLeast = 1s, kEmptySpread = 2s;
constexpr Millis kFirstBackoff = 1s, kLongestBackoff = 60s;
constexpr Millis kIdleLog = 300s;
constexpr Millis kScriptGrace = 30s;
constexpr Millis kTooShort = 1s;  // for a script that has served a session
constexpr Millis kCutLimit = 10s;

struct Poll {
  explicit Poll(std::shared_ptr<Worker> with)
      : worker(std::move(with)), polling(worker->loop), items(worker->loop) {}

  const std::shared_ptr<Worker> worker;
  int places = 0;  // taken by items
  bool stopping = false;
  std::optional<Error> failure;  // we cannot go on
  bool polled_out = false;       // --drain: the queue was empty, and nothing is held
  std::set<runner::Item*> held;
  std::shared_ptr<net::Event> changed = std::make_shared<net::Event>();
  net::TaskGroup polling, items;

  void stop() {
    stopping = true;
    for (runner::Item* item : held) item->stop();
    changed->notify();
  }
  void fail(Error error) {
    if (!failure) failure = std::move(error);
    stop();
  }
};
using Poller = std::shared_ptr<Poll>;

class Place {
 public:
  explicit Place(Poller poll) : poll_(std::move(poll)) { ++poll_->places; }
  Place(const Place&) = delete;
  ~Place() {
    --poll_->places;
    poll_->changed->notify();
  }

 private:
  Poller poll_;
};

// ---- one item

Task<void> serve_here(Poller poll, runner::Work work) {
  auto item = make_item(poll->worker, work);
  poll->held.insert(item.get());
  if (poll->stopping) item->stop();
  auto end = co_await item->run();
  poll->held.erase(item.get());
  if (!end) co_return std::move(end.error());
  tell_end(work, *end);
  co_return ok;
}

Task<void> beat(Poller poll, std::shared_ptr<runner::Lease> lease) {
  auto ended = co_await lease->run();
  poll->changed->notify();
  co_return ended;
}

// Only our own brain shows an item to the environment's key; elsewhere nobody knows: "".
Task<std::string> state_of(Poller poll, runner::Work work) {
  const Worker& worker = *poll->worker;
  if (!is_own_key(worker.key->reveal())) co_return std::string();
  auto body =
      co_await worker.service->get(str("/v1/environments/", http::encode_path(work.environment_id),
                                       "/work/", http::encode_path(work.id)),
                                   worker.key);
  if (!body && body.error().code == Code::cancelled) co_return std::move(body.error());
  auto shown = body ? runner::parse_json(*body) : Result<boost::json::value>(body.error());
  co_return shown ? runner::text(*shown, "state") : std::string();
}

// Whether the item goes on although its script has ended: then what serves it is about to be told
// to stop, or nothing ever served it. Where the state is not known, the time must say it.
bool left_too_early(std::string_view state, Millis took) {
  return state.empty() ? took < kTooShort : state != "stopping" && state != "stopped";
}

void tell_script_end(const runner::Work& work, int status, Millis took) {
  const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  log::write(well ? log::Level::info : log::Level::error, "script.end",
             {{"work", work.id},
              {"session", work.session_id},
              {WIFSIGNALED(status) ? "signal" : "exit_code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)},
              {"seconds", static_cast<double>(took.count()) / 1000}});
}

void warn_of_early_end(const runner::Work& work) {
  log::warn("script.left_early",
            {{"work", work.id},
             {"session", work.session_id},
             {"advice",
              "the script has ended, but its session has not: the item is stopped now, and what "
              "serves it is told to leave. A script must stay until then (no 'run -d', no '&')"}});
}

Task<void> stop_item(Poller poll, runner::Work work, runner::Service::Stop how) {
  const Worker& worker = *poll->worker;
  auto stopped = co_await worker.service->stop(work.environment_id, work.id, how, worker.key);
  if (!stopped && stopped.error().code == Code::cancelled) co_return stopped;
  if (!stopped) log::error("item.stop", {{"work", work.id}, {"error", stopped.error().what}});
  co_return ok;
}

bool still_ours(runner::Lease::End end) {
  using End = runner::Lease::End;
  return end == End::none || end == End::stopping || end == End::rejected;
}

Task<void> serve_by_script(Poller poll, runner::Work work) {
  const std::shared_ptr<Worker> worker = poll->worker;
  if (work.kind != "session")
    co_return co_await stop_item(poll, work, runner::Service::Stop::gracefully);
  const auto began = Steady::now();
  auto process = start_script(*worker, work);
  if (!process) {
    // Not stopped: unserved, it goes back to the queue by itself.
    poll->fail(std::move(process.error()).with("--on-work"));
    co_return ok;
  }
  log::info("script.start",
            {{"work", work.id}, {"session", work.session_id}, {"pid", process->pid()}});
  net::TaskGroup beats(worker->loop);
  std::shared_ptr<runner::Lease> lease;
  if (worker->options.heartbeat) {
    auto bearer = work.token.empty() ? worker->key : std::make_shared<const Secret>(work.token);
    lease = std::make_shared<runner::Lease>(*worker->service, work.environment_id, work.id,
                                            std::move(bearer), runner::LeaseOptions{});
    beats.spawn("lease", beat(poll, lease));
  }
  auto wanted = [poll, lease] {
    return poll->stopping || (lease && lease->end() != runner::Lease::End::none);
  };
  auto status = co_await end_of_script(worker->loop, std::move(*process), std::move(wanted),
                                       poll->changed, kScriptGrace);
  if (!status && status.error().code == Code::cancelled) co_return std::move(status.error());
  const auto took = std::chrono::duration_cast<Millis>(Steady::now() - began);
  if (status) tell_script_end(work, *status, took);
  using Stop = runner::Service::Stop;
  Stop how = lease ? Stop::by_force : Stop::gracefully;
  if (!lease && !poll->stopping) {
    CO_TRY(state, co_await state_of(poll, work));
    if (left_too_early(state, took)) warn_of_early_end(work);
    // Nobody has beaten it, so nobody would hear that it is to stop, and the session would wait.
    if (state == "starting") how = Stop::by_force;
  }
  if (!lease || still_ours(lease->end())) {
    CO_TRY_DO(co_await stop_item(poll, work, how));
  } else {
    log::warn("item.lost", {{"work", work.id}, {"why", lease->why()}});
  }
  co_return co_await beats.finish(kCutLimit);
}

Task<void> serve(Poller poll, runner::Work work, std::shared_ptr<Place>) {
  const Worker& worker = *poll->worker;
  if (work.environment_id.empty()) work.environment_id = worker.options.environment_id;
  log::info("item.claim", {{"work", work.id}, {"session", work.session_id}, {"kind", work.kind}});
  auto acked = co_await worker.service->ack(work.environment_id, work.id, worker.key);
  if (!acked) {
    if (acked.error().code == Code::cancelled) co_return acked;
    log::warn("item.ack", {{"work", work.id}, {"error", acked.error().what}});
    co_return ok;  // it comes back by itself
  }
  if (worker.options.script.empty()) co_return co_await serve_here(poll, std::move(work));
  co_return co_await serve_by_script(poll, std::move(work));
}

// ---- the queue

Task<void> wait_for_change(Poller poll, Millis limit) {
  auto waited = co_await poll->changed->wait(limit);
  if (!waited && waited.error().code == Code::cancelled) co_return waited;
  co_return ok;
}

class IdleLog {
 public:
  void empty() {
    const auto now = Steady::now();
    if (told_ && now - *told_ < kIdleLog) return;
    told_ = now;
    log::info("worker.idle");
  }
  void busy() { told_.reset(); }

 private:
  std::optional<Steady::time_point> told_;
};

Task<void> poll_for_work(Poller poll) {
  const Worker& worker = *poll->worker;
  const runner::Poll request{.environment = worker.options.environment_id,
                             .worker_id = worker.options.worker_id,
                             .block_ms = kBlockMs};
  IdleLog idle;
  for (int failures = 0;;) {
    while (poll->places >= worker.options.max_sessions)
      CO_TRY_DO(co_await wait_for_change(poll, net::kForever));
    auto work = co_await worker.service->poll(request, worker.key);
    if (!work) {
      if (work.error().code == Code::cancelled || runner::fatal(work.error()))
        co_return std::move(work.error());
      log::warn("worker.poll", {{"error", work.error().what}});
      CO_TRY_DO(co_await net::sleep(
          runner::jittered(runner::doubled(kFirstBackoff, failures++, kLongestBackoff))));
      continue;
    }
    failures = 0;
    if (*work) {
      idle.busy();
      poll->items.spawn("item", serve(poll, std::move(**work), std::make_shared<Place>(poll)));
      continue;
    }
    if (worker.options.drain && poll->places == 0) co_return ok;
    idle.empty();
    // jittered() takes up to a quarter away: of four times the spread that is all of it.
    CO_TRY_DO(
        co_await net::sleep(kEmptyLeast + runner::jittered(kEmptySpread * 4) - kEmptySpread * 3));
  }
}

Task<void> poll_to_the_end(Poller poll) {
  auto polled = co_await poll_for_work(poll);
  if (polled) {
    poll->polled_out = true;
    poll->changed->notify();
  } else if (polled.error().code != Code::cancelled) {
    poll->fail(std::move(polled.error()).with("poll"));
  }
  co_return ok;
}

Task<int> work_off(Poller poll) {
  const WorkerOptions& options = poll->worker->options;
  log::info("worker.start", {{"environment", options.environment_id},
                             {"worker", options.worker_id},
                             {"service", options.service_url},
                             {"serves", !options.script.empty() ? options.script
                                        : options.sandbox       ? std::string("in sandboxes")
                                                                : options.workdir}});
  poll->polling.spawn("poll", poll_to_the_end(poll));
  Result<void> waited = ok;
  while (waited && !poll->stopping && !poll->polled_out)
    waited = co_await wait_for_change(poll, net::kForever);
  (void)co_await poll->polling.finish(kCutLimit);
  while (waited && poll->places > 0) waited = co_await wait_for_change(poll, net::kForever);
  (void)co_await poll->items.finish(kCutLimit);
  if (poll->worker->boxes) (void)co_await poll->worker->boxes->close(waited ? 5s : 0s);
  if (!waited) co_return std::move(waited.error());
  if (poll->failure) {
    log::error("worker.end", {{"error", poll->failure->what}});
    co_return 1;
  }
  co_return 0;
}

Result<int> worker_poll(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  auto options = poll_options(args, context);
  if (!options && cli::is_usage_error(options.error())) return std::move(options.error());
  block_signals();
  net::Loop loop;
  Result<std::shared_ptr<Worker>> worker =
      options ? make_worker(loop, std::move(*options), context) : std::move(options.error());
  if (!worker) {
    out.note(str("glovebox: ", worker.error().what));
    return 1;
  }
  auto poll = std::make_shared<Poll>(std::move(*worker));
  return run_until_signals(loop, work_off(poll), [poll] { poll->stop(); });
}

}  // namespace

const cli::Command kWorkerPoll{
    .name = "worker poll",
    .usage =
        "worker poll [--environment-id=ID] [--worker-id=ID] [--base-url=URL] [--on-work=SCRIPT] "
        "[--heartbeat] [--workdir=DIR] [--sandbox] [--image=IMAGE] [--max-sessions=N] "
        "[--max-idle=TIME] [--drain] [--log-format=FORMAT]",
    .help =
        "Take sessions from a queue of Claude Managed Agents and run their tools here.\n"
        "\n"
        "The key is ANTHROPIC_ENVIRONMENT_KEY, never a flag.\n"
        "  --environment-id=ID  the queue (ANTHROPIC_ENVIRONMENT_ID)\n"
        "  --worker-id=ID       our name in the queue's statistics (ANTHROPIC_WORKER_ID)\n"
        "  --base-url=URL       the service (ANTHROPIC_BASE_URL; https://api.anthropic.com)\n"
        "  --on-work=SCRIPT     start SCRIPT for each item instead; it must stay until the "
        "session's end\n"
        "  --heartbeat          keep an item's lease while SCRIPT runs\n"
        "  --workdir=DIR        where tools work (.)\n"
        "  --sandbox            each session has a sandbox of the engine here or at "
        "TENSORLAKE_API_URL\n"
        "  --image=IMAGE        of those sandboxes\n"
        "  --max-sessions=N     at once (1)\n"
        "  --max-idle=TIME      after a turn's end a session is held this long; 0: for ever (60s)\n"
        "  --drain              end when the queue is empty\n"
        "  --log-format=FORMAT  text or json\n"
        "SIGINT and SIGTERM let the tool calls that run finish and release the sessions; a second "
        "one\nends at once. Exit codes: 0 stopped, 1 cannot go on, 2 wrong usage. docs/worker.md "
        "has the\ncontract of scripts.",
    .run = worker_poll};

}  // namespace glovebox::app
