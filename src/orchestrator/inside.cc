#include "orchestrator/inside.h"

#include <signal.h>

#include <algorithm>
#include <deque>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/deadline.h"
#include "net/task.h"
#include "orchestrator/session_policy.h"
#include "orchestrator/uplink_api.h"
#include "runner/retry.h"

namespace glovebox::orchestrator {

using runner::ItemEnd;

namespace {

metrics::Counter started("orchestrator_inside_workers_total", "Workers started inside of boxes.");

constexpr Millis kStopLimit = 15s;  // for telling the service at the end
constexpr std::size_t kLastWords = 3, kLine = 300;

// In place of a credential, which the box has none of. The worker looks at its beginning to know
// whether the queue is ours, and at where it is to know what the uplink's credential may do: memory
// stores take the token of an item only.
constexpr std::string_view kNoKey = "held-by-the-uplink", kNoKeyOfOurs = "gb-held-by-the-uplink";

std::pair<std::string, std::string> no_credential(bool of_ours, bool is_token) {
  const std::string word(of_ours ? kNoKeyOfOurs : kNoKey);
  if (!is_token) return {"ANTHROPIC_ENVIRONMENT_KEY", word};
  return {"ANTHROPIC_WORK_SECRET", base64url(str(R"({"sessions_token":")", word, "\"}"))};
}

}  // namespace

struct InsideRun::State {
  Impl impl;
  const runner::Work work;
  const std::string known_box;
  const runner::Bearer bearer;
  runner::Session session;
  Box box;
  std::string url;    // of the uplink, as the box sees it
  BoxProcess worker;  // pid 0: not started yet
  bool stopping = false;
  bool cut_off = false;  // it cannot reach the uplink any more
  std::optional<Error> refusal;
  net::Event changed;
};

namespace {

using State = std::shared_ptr<InsideRun::State>;

runner::Bearer bearer_of(const Orchestrator::Impl& impl, const runner::Work& work) {
  if (!work.token.empty()) return std::make_shared<const Secret>(work.token);
  return impl.environment_key;
}

std::string argument(std::string_view name, std::string_view value) {
  return str("--", name, '=', value);
}

// By what it was started with. That list is the engine's: nothing inside can put itself on it.
bool is_worker_of(const BoxProcess& process, const std::string& work) {
  return process.running && process.command.ends_with("/glovebox-worker") &&
         std::ranges::find(process.args, argument("work-id", work)) != process.args.end();
}

std::string url_of(const BoxProcess& worker) {
  for (const std::string& word : worker.args)
    if (constexpr std::string_view kName = "--base-url="; word.starts_with(kName))
      return word.substr(kName.size());
  return "";
}

int port_of(const std::string& url) {
  auto parsed = http::Url::parse(url);
  return parsed ? parsed->port : 0;
}

Task<void> find_worker(State run) {
  CO_TRY(processes, co_await run->impl->engine->processes(run->box.id));
  for (BoxProcess& process : processes) {
    if (!is_worker_of(process, run->work.id)) continue;
    run->url = url_of(process);
    run->worker = std::move(process);
    log::info("inside.found", {{"box", run->box.id}, {"pid", run->worker.pid}});
  }
  co_return ok;
}

Task<void> start_worker(State run, std::string program) {
  const Options& options = run->impl->options;
  NewProcess process{.command = std::move(program)};
  process.args = {"worker",
                  "run",
                  argument("work-id", run->work.id),
                  argument("session-id", run->work.session_id),
                  argument("environment-id", run->work.environment_id),
                  argument("base-url", run->url),
                  "--workdir=/workspace",
                  "--log-format=json",
                  str("--max-idle=", options.max_idle.count(), "ms")};
  process.env = {no_credential(run->impl->service_is_ours, !run->work.token.empty())};
  CO_FAULT("orchestrator.before_worker");
  CO_TRY(begun, co_await run->impl->engine->start(run->box.id, std::move(process)));
  CO_FAULT("orchestrator.after_worker");
  run->worker = std::move(begun);
  started.add();
  log::info("inside.start",
            {{"work", run->work.id}, {"box", run->box.id}, {"pid", run->worker.pid}});
  co_return ok;
}

Task<bool> granted(State run) {
  auto there = co_await run->impl->uplink->renew(run->box.id, run->work.id);
  // It may have a better credential than the one we know after a new start of ours.
  if (there || there.error().code != Code::not_found) co_return there;
  UplinkGrant grant{.box = run->box.id,
                    .environment = run->work.environment_id,
                    .work = run->work.id,
                    .service_url = run->impl->options.service_url,
                    .headers = run->impl->options.headers,
                    .session = run->session,
                    .credential = run->bearer};
  co_return co_await run->impl->uplink->grant(std::move(grant));
}

// The way out is open. Idempotent; asked again and again, because the uplink may start anew.
Task<std::string> supply(State run) {
  CO_TRY(listening, co_await granted(run), "grant");
  if (listening) co_return std::string();
  CO_TRY(place, co_await run->impl->engine->open_uplink(run->box.id, port_of(run->url)));
  run->url = place.url;
  co_return std::move(place.program);
}

// A grant that has just gone is made again; a box is not.
bool passes(const Error& error) {
  return may_pass(error) || (error.code == Code::not_found && error.tag != "SANDBOX_NOT_FOUND");
}

Task<void> set_up(State run) {
  const BoxOptions& options = run->impl->boxes->options();
  net::Deadline deadline(options.patience);
  for (int attempt = 0;; ++attempt) {
    Result<void> done = run->worker.pid ? Result<void>(ok) : co_await find_worker(run);
    if (done) {
      auto program = co_await supply(run);
      if (!program)
        done = std::move(program.error());
      else if (!run->worker.pid && !program->empty())
        done = co_await start_worker(run, std::move(*program));
      else if (!run->worker.pid)
        // A listener of whose port we know nothing: of a process of ours that died in between.
        done = co_await run->impl->uplink->revoke(run->box.id, run->work.id);
    }
    if (done && run->worker.pid) co_return ok;
    if (!done && !passes(done.error())) co_return done;
    if (deadline.left() <= 0ms)
      co_return done ? Error{Code::timeout, "the uplink does not come up"}
                     : std::move(done.error());
    CO_TRY_DO(co_await net::sleep(
        runner::jittered(runner::doubled(options.first_retry, attempt, options.longest_retry))));
  }
}

// As long as the worker runs.
Task<void> keep_supplied(State run) {
  bool told = false;
  for (;;) {
    CO_TRY_DO(co_await net::sleep(run->impl->options.pace.supply));
    auto supplied = co_await supply(run);
    if (!supplied && supplied.error().code == Code::cancelled) co_return ok;
    if (supplied) {
      told = false;
      continue;
    }
    if (!std::exchange(told, true))
      log::warn("inside.supply",
                {{"work", run->work.id}, {"box", run->box.id}, {"error", supplied.error().what}});
    // Somebody inside has taken the port: this worker will never reach anybody again.
    if (supplied.error().code == Code::conflict) {
      run->cut_off = true;
      run->changed.notify();
      co_return ok;
    }
  }
}

Task<void> pass_on_stop(State run) {
  while (!run->stopping && !run->cut_off) CO_TRY_DO(co_await run->changed.wait(net::kForever));
  const int number = run->cut_off ? SIGKILL : SIGTERM;
  for (int attempt = 0;; ++attempt) {
    auto told = co_await run->impl->engine->signal(run->box.id, run->worker.pid, number);
    if (told || !may_pass(told.error())) co_return ok;
    CO_TRY_DO(co_await net::sleep(runner::doubled(50ms, attempt, 2s)));
  }
}

// To the worker's end; what it says is a stranger's word, and kept only to be shown.
Task<BoxProcess> follow(State run, std::deque<std::string>* last_words) {
  for (int failures = 0;;) {
    auto heard = co_await run->impl->engine->follow(run->box.id, run->worker.pid,
                                                    [last_words](std::string line) {
                                                      last_words->push_back(line.substr(0, kLine));
                                                      if (last_words->size() > kLastWords)
                                                        last_words->pop_front();
                                                    });
    if (!heard && heard.error().code == Code::cancelled) co_return std::move(heard.error());
    auto now = co_await run->impl->engine->process(run->box.id, run->worker.pid);
    if (now && !now->running) co_return now;
    if (!now && !may_pass(now.error())) co_return now;
    if (now) failures = 0;
    CO_TRY_DO(co_await net::sleep(runner::doubled(100ms, failures++, 5s)));
  }
}

Task<runner::Session> read_session(State run) {
  net::Deadline deadline(run->impl->boxes->options().patience);
  for (int attempt = 0;; ++attempt) {
    auto session = co_await run->impl->service->session(run->work.session_id, run->bearer);
    bool over = session || session.error().code == Code::cancelled ||
                runner::fatal(session.error()) || deadline.left() <= 0ms;
    if (over) co_return session;
    CO_TRY_DO(co_await net::sleep(runner::jittered(runner::doubled(500ms, attempt, 10s))));
  }
}

ItemEnd failed(std::string why) { return {.how = ItemEnd::How::failed, .why = std::move(why)}; }

ItemEnd end_of(const InsideRun::State& run, const Result<BoxProcess>& worker,
               const std::deque<std::string>& last_words) {
  if (!worker) return failed(worker.error().what);
  if (run.cut_off) return failed("the worker was cut off from the uplink");
  if (worker->exit_code == 0)
    return {.how = run.stopping ? ItemEnd::How::asked : ItemEnd::How::done, .why = "worker"};
  std::string why = worker->exit_code ? str("the worker ended with exit code ", *worker->exit_code)
                                      : str("the worker was ended by a signal");
  for (const std::string& line : last_words) why += str("; ", line);
  return failed(std::move(why));
}

// With all in it that the session asks for.
Task<Box> box_of(State run, Boxes::For what) {
  CO_TRY(wish, wish_for(run->impl, run->session));
  note_box(run->impl, run->work.session_id);
  CO_TRY(box, co_await run->impl->boxes->get(box_name(run->work.session_id), what, wish));
  auto prepare = preparation_of(run->impl, run->work.session_id, wish, run->bearer);
  if (prepare) CO_TRY_DO(co_await prepare(box.id));
  co_return box;
}

Task<ItemEnd> serve_in_box(State run) {
  CO_TRY(session, co_await read_session(run));
  if (session.status == "terminated") co_return ItemEnd{.why = "terminated"};
  if (run->stopping) co_return ItemEnd{.how = ItemEnd::How::asked};
  run->session = std::move(session);
  auto what = run->known_box.empty() ? Boxes::For::new_burst : Boxes::For::in_use;
  auto box = co_await box_of(run, what);
  if (!box && lasting(box.error())) run->refusal = box.error();
  if (!box) co_return std::move(box.error());
  run->box = std::move(*box);
  CO_TRY_DO(run->impl->journal.box(run->work.id, run->box.id));
  CO_TRY_DO(co_await set_up(run));

  net::TaskGroup beside(run->impl->loop);
  beside.spawn("inside.supply", keep_supplied(run));
  beside.spawn("inside.stop", pass_on_stop(run));
  std::deque<std::string> last_words;
  auto worker = co_await follow(run, &last_words);
  (void)co_await beside.finish(kStopLimit);
  if (!worker && worker.error().code == Code::cancelled) co_return std::move(worker.error());
  co_return end_of(*run, worker, last_words);
}

// Whatever the worker said: an item nobody works on is not to be waited for.
Task<void> put_away(State run, ItemEnd* end) {
  if (!run->box.id.empty()) {
    auto revoked = co_await run->impl->uplink->revoke(run->box.id, run->work.id);
    if (!revoked)
      log::warn("inside.revoke", {{"box", run->box.id}, {"error", revoked.error().what}});
  }
  // Ours offers a session with open calls anew at once. Elsewhere the item is the worker's, who
  // knows whether there are any, or left for its lease to run out.
  const bool nothing_to_do = run->worker.pid == 0 && end->how == ItemEnd::How::done;
  if (!run->impl->service_is_ours && !nothing_to_do) co_return ok;
  auto stopped = co_await run->impl->service->stop(run->work.environment_id, run->work.id,
                                                   runner::Service::Stop::by_force, run->bearer);
  end->stopped = stopped.has_value();
  if (!stopped && stopped.error().code == Code::cancelled) co_return stopped;
  if (!stopped) log::warn("item.stop", {{"work", run->work.id}, {"error", stopped.error().what}});
  co_return ok;
}

}  // namespace

InsideRun::InsideRun(Impl impl, runner::Work work, std::string known_box)
    : state_(new State{.impl = impl,
                       .work = work,
                       .known_box = std::move(known_box),
                       .bearer = bearer_of(*impl, work)}) {}
InsideRun::~InsideRun() = default;

const std::optional<Error>& InsideRun::refusal() const { return state_->refusal; }

void InsideRun::stop() {
  state_->stopping = true;
  state_->changed.notify();
}

static Task<ItemEnd> run_inside(State run) {
  auto served = co_await serve_in_box(run);
  if (!served && served.error().code == Code::cancelled) co_return served;
  if (run->refusal) co_return failed(run->refusal->what);
  ItemEnd end = served ? std::move(*served) : failed(served.error().what);
  CO_TRY_DO(co_await put_away(run, &end));
  co_return end;
}

Task<ItemEnd> InsideRun::run() { return run_inside(state_); }

}  // namespace glovebox::orchestrator
