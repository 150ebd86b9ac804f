// `glovebox worker run`: serves one claimed item, and ends.
#include <unistd.h>

#include "app/commands.h"
#include "app/worker.h"
#include "base/log.h"
#include "net/task.h"

namespace glovebox::app {

namespace {

constexpr std::size_t kMostStdin = 16 << 20;

Result<std::string> all_of_stdin() {
  std::string out;
  char buffer[16 * 1024];
  for (;;) {
    ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("stdin");
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > kMostStdin) return Error{Code::too_large, "stdin: this is no work item"};
  }
}

Result<RunOptions> read_options(const cli::Args& args, const cli::Context& context) {
  std::optional<std::string> item;
  if (args.flag("--stdin")) {
    TRY(text, all_of_stdin());
    item = std::move(text);
  }
  return run_options(args, context, std::move(item));
}

// Told to leave, by whomever, is a good end; to have lost the item is none.
int exit_code_of(const runner::ItemEnd& end) {
  switch (end.how) {
    case runner::ItemEnd::How::done:
    case runner::ItemEnd::How::asked: return 0;
    case runner::ItemEnd::How::released: return end.stopped ? 0 : 1;
    case runner::ItemEnd::How::failed: return 1;
  }
  return 1;
}

Task<int> serve(std::shared_ptr<Worker> worker, std::shared_ptr<runner::Item> item,
                runner::Work work) {
  log::info(
      "item.start",
      {{"work", work.id}, {"session", work.session_id}, {"service", worker->options.service_url}});
  auto end = co_await item->run();
  if (worker->boxes) (void)co_await worker->boxes->close(end ? 5s : 0s);
  if (!end && end.error().code == Code::cancelled) co_return std::move(end.error());
  if (!end) {
    log::error("item.end", {{"work", work.id}, {"error", end.error().what}});
    co_return 1;
  }
  tell_end(work, *end);
  co_return exit_code_of(*end);
}

Result<int> worker_run(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  auto options = read_options(args, context);
  if (!options && cli::is_usage_error(options.error())) return std::move(options.error());
  block_signals();
  net::Loop loop;
  Result<std::shared_ptr<Worker>> worker =
      options ? make_worker(loop, std::move(options->worker), context) : std::move(options.error());
  if (!worker) {
    out.note(str("glovebox: ", worker.error().what));
    return 1;
  }
  auto item = make_item(*worker, options->work);
  return run_until_signals(loop, serve(*worker, item, std::move(options->work)),
                           [item] { item->stop(); });
}

}  // namespace

const cli::Command kWorkerRun{
    .name = "worker run",
    .usage =
        "worker run [--environment-id=ID] [--session-id=ID] [--work-id=ID] [--base-url=URL] "
        "[--stdin] [--workdir=DIR] [--sandbox] [--image=IMAGE] [--max-idle=TIME] "
        "[--log-format=FORMAT]",
    .help =
        "Serve one item that was claimed by somebody else, and end: a container's entry point.\n"
        "\n"
        "The credential is ANTHROPIC_WORK_SECRET, else ANTHROPIC_ENVIRONMENT_KEY; never a flag.\n"
        "  --environment-id=ID  ANTHROPIC_ENVIRONMENT_ID\n"
        "  --session-id=ID      ANTHROPIC_SESSION_ID\n"
        "  --work-id=ID         ANTHROPIC_WORK_ID\n"
        "  --base-url=URL       the service (ANTHROPIC_BASE_URL; https://api.anthropic.com)\n"
        "  --stdin              the item is on stdin, as poll --on-work gives it to a script\n"
        "  --workdir=DIR        where tools work (.)\n"
        "  --sandbox            in a sandbox of the engine here or at TENSORLAKE_API_URL\n"
        "  --image=IMAGE        of that sandbox\n"
        "  --max-idle=TIME      after a turn's end the session is held this long; 0: for ever "
        "(60s)\n"
        "  --log-format=FORMAT  text or json\n"
        "Exit codes: 0 the session is idle or over, or we were told to leave; 1 the item was lost "
        "or\nfailed; 2 wrong usage.",
    .run = worker_run};

}  // namespace glovebox::app
