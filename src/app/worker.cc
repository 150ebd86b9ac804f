#include "app/worker.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "app/local_hands.h"
#include "app/program.h"
#include "app/well_known.h"
#include "base/log.h"
#include "net/task.h"
#include "orchestrator/orchestrator.h"
#include "orchestrator/session_policy.h"
#include "runner/equipped_hands.h"
#include "runner/local_files.h"
#include "runner/unpack.h"

namespace glovebox::app {

namespace {

constexpr int kFileThreads = 2;

Result<std::shared_ptr<orchestrator::Boxes>> boxes_of(net::Loop& loop, const WorkerOptions& options,
                                                      const cli::Context& context) {
  TRY(engine, cli::find_engine(context), "--sandbox");
  orchestrator::BoxOptions made;
  made.image = options.image;
  made.also_trust = engine.also_trust;
  return std::make_shared<orchestrator::Boxes>(
      loop, std::move(engine.url), std::make_shared<const Secret>(std::move(engine.key)),
      std::move(made));
}

std::shared_ptr<runner::Hands> equipped_here(const std::shared_ptr<Worker>& worker,
                                             runner::SessionAccess access) {
  const std::string& workdir = worker->options.workdir;
  auto hands = std::make_shared<LocalHands>(
      worker->loop, LocalHandOptions{.program = worker->hand,
                                     .workdir = workdir,
                                     .env = environment_for_tools(worker->env),
                                     .running = worker->running});
  runner::Equipment equipment;
  equipment.files = runner::local_files(*worker->pool, workdir);
  equipment.open_memory = [worker](std::string root) {
    return runner::local_memory_folder(*worker->pool, std::move(root));
  };
  equipment.work_directory = workdir;
  equipment.unpack = runner::unpacker(worker->loop, worker->unpack);
  return std::make_shared<runner::EquippedHands>(worker->loop, std::move(hands), std::move(access),
                                                 std::move(equipment));
}

// `token` is null where the item brought none.
Task<std::shared_ptr<runner::Hands>> make_hands(std::shared_ptr<Worker> worker,
                                                runner::Bearer token, runner::Session session) {
  const std::string id = session.id;
  runner::SessionAccess access{*worker->service, std::move(session), token ? token : worker->key,
                               token != nullptr};
  if (!worker->boxes) co_return equipped_here(worker, std::move(access));
  orchestrator::BoxWish wish;
  wish.volumes.push_back(orchestrator::outputs_of(id));
  auto hands = std::make_shared<orchestrator::BoxHands>(
      worker->boxes, orchestrator::box_name(id), "", [](std::string) {}, std::move(wish));
  co_return orchestrator::equipped_box(worker->loop, worker->boxes, std::move(hands),
                                       std::move(access), worker->unpack);
}

struct Outcome {
  std::optional<Result<int>> work;
  int second_signal = 0;
};

Task<void> to_the_end(Task<int> work, Outcome* outcome) {
  outcome->work = co_await std::move(work);
  co_return ok;
}

Task<void> two_signals(std::function<void()> stop, Outcome* outcome) {
  CO_TRY(first, co_await net::next_signal({SIGINT, SIGTERM}));
  log::info("worker.stop", {{"signal", first}});
  stop();
  CO_TRY(second, co_await net::next_signal({SIGINT, SIGTERM}));
  log::warn("worker.cut", {{"signal", second}});
  outcome->second_signal = second;
  co_return ok;
}

}  // namespace

Result<std::shared_ptr<Worker>> make_worker(net::Loop& loop, WorkerOptions options,
                                            const cli::Context& context) {
  log::set_format(options.log_format);
  if (!context.variable("GLOVEBOX_LOG")) log::set_level(log::Level::info);
  // What we know is not for those of the same user that run what a model wrote.
  ::prctl(PR_SET_DUMPABLE, 0);
  std::shared_ptr<orchestrator::Boxes> boxes;
  std::string hand, unpack;
  if (options.script.empty()) {
    TRY(found, unpack_program());
    unpack = std::move(found);
  }
  if (options.sandbox) {
    TRY(made, boxes_of(loop, options, context));
    boxes = std::move(made);
  } else if (options.script.empty()) {
    TRY(found, hand_program(Config()));
    hand = std::move(found);
  }
  forget_secrets_of_environment();
  auto key = std::make_shared<const Secret>(options.key);
  auto service = std::make_shared<runner::Service>(
      loop, runner::Service::Options{.url = options.url,
                                     .client = {.also_trust = cli::trusted_certificates(context)},
                                     .headers = options.headers});
  return std::shared_ptr<Worker>(new Worker{
      loop, std::move(options), std::move(key), std::move(service), std::move(boxes), context.env,
      std::move(hand), std::move(unpack), std::make_unique<net::Pool>(kFileThreads)});
}

void block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signo : {SIGTERM, SIGINT}) sigaddset(&set, signo);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

std::shared_ptr<runner::Item> make_item(const std::shared_ptr<Worker>& worker, runner::Work work) {
  runner::ItemOptions options;
  options.session.max_idle = worker->options.max_idle;
  // Ours offers a session with open calls anew at once. Of another service nobody knows: there the
  // lease is left to run out, because a session nobody is offered would wait for ever.
  const Secret& credential = work.token.empty() ? *worker->key : work.token;
  options.stop_with_open_calls = is_own_key(credential.reveal());
  auto token = work.token.empty() ? nullptr : std::make_shared<const Secret>(work.token);
  auto make = [worker, token](runner::Session session) {
    return make_hands(worker, token, std::move(session));
  };
  return std::make_shared<runner::Item>(worker->loop, *worker->service, std::move(work),
                                        worker->key, std::move(make), options);
}

void tell_end(const runner::Work& work, const runner::ItemEnd& end) {
  log::write(end.how == runner::ItemEnd::How::failed ? log::Level::error : log::Level::info,
             "item.end",
             {{"work", work.id},
              {"session", work.session_id},
              {"end", name(end.how)},
              {"why", end.why},
              {"stopped", end.stopped},
              {"open_calls", end.open_calls}});
}

Result<int> run_until_signals(net::Loop& loop, Task<int> work, std::function<void()> stop) {
  Outcome outcome;
  auto run = net::run(loop, net::first_of(to_the_end(std::move(work), &outcome),
                                          two_signals(std::move(stop), &outcome)));
  if (outcome.second_signal != 0) return 128 + outcome.second_signal;
  TRY_DO(std::move(run));
  return *outcome.work;
}

}  // namespace glovebox::app
