#include "app/worker_options.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <cstdlib>

#include "app/local_hands.h"
#include "app/well_known.h"
#include "base/random.h"
#include "http/custom_headers.h"

namespace glovebox::app {

namespace {

constexpr std::string_view kHostedService = "https://api.anthropic.com";
constexpr std::string_view kBuiltIn = "in-process";
constexpr int kMostSessions = 1000;

std::string given(const cli::Args& args, const cli::Context& context, std::string_view flag,
                  std::string_view variable) {
  if (auto set = args.option(flag); set && !set->empty()) return *set;
  return context.variable(variable).value_or("");
}

std::string default_worker_id() {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const std::string random = random_id(12);
  return *host ? str(host, '-', random) : random;
}

Result<log::Format> log_format(const cli::Args& args) {
  const std::string text = args.option("--log-format").value_or("text");
  if (text == "text") return log::Format::text;
  if (text == "json") return log::Format::json;
  return cli::usage_error(str("--log-format: '", text, "' is neither text nor json"));
}

Result<void> read_places(WorkerOptions& options, const cli::Args& args) {
  options.sandbox = args.flag("--sandbox");
  options.image = args.option("--image").value_or("");
  if (!options.sandbox && !options.image.empty())
    return cli::usage_error("--image is of sandboxes: it needs --sandbox");
  if (options.sandbox && args.option("--workdir"))
    return cli::usage_error("--sandbox and --workdir exclude each other: a sandbox has its own");
  if (options.sandbox) return ok;
  TRY(workdir, usable_workdir(args.option("--workdir").value_or(".")), "--workdir");
  options.workdir = std::move(workdir);
  return ok;
}

Result<WorkerOptions> common(const cli::Args& args, const cli::Context& context) {
  WorkerOptions options;
  TRY(format, log_format(args));
  options.log_format = format;
  options.environment_id = given(args, context, "--environment-id", "ANTHROPIC_ENVIRONMENT_ID");
  options.key = Secret(context.variable("ANTHROPIC_ENVIRONMENT_KEY").value_or(""));
  options.service_url = given(args, context, "--base-url", "ANTHROPIC_BASE_URL");
  options.base_url_is_set = !options.service_url.empty();
  if (!options.base_url_is_set) options.service_url = kHostedService;
  while (options.service_url.ends_with('/')) options.service_url.pop_back();
  auto url = http::Url::parse(options.service_url);
  if (!url)
    return cli::usage_error(
        str("ANTHROPIC_BASE_URL: '", options.service_url, "': ", url.error().what));
  options.url = std::move(*url);
  if (options.url.host == "api.anthropic.com" && is_own_key(options.key.reveal()))
    return cli::usage_error(
        "ANTHROPIC_ENVIRONMENT_KEY is a key of a Glovebox's brain: say where that brain is "
        "(ANTHROPIC_BASE_URL)");
  auto headers =
      http::parse_custom_headers(context.variable("ANTHROPIC_CUSTOM_HEADERS").value_or(""));
  if (!headers) return cli::usage_error("ANTHROPIC_CUSTOM_HEADERS: " + headers.error().what);
  options.headers = std::move(*headers);
  TRY(idle, parse_long_duration(args.option("--max-idle").value_or("60s")), "--max-idle");
  options.max_idle = idle;
  TRY_DO(read_places(options, args));
  return options;
}

Result<std::string> usable_script(const std::string& path) {
  char real[PATH_MAX];
  if (!::realpath(path.c_str(), real)) return sys_error(path);
  if (::access(real, X_OK) < 0) return sys_error(str(path, " (it must be executable)"));
  return std::string(real);
}

Error missing(std::string_view what) { return cli::usage_error(str("there is no ", what)); }

}  // namespace

Result<Millis> parse_long_duration(std::string_view text) {
  Millis sum{};
  std::string_view rest = text;
  do {
    // A number, its unit: the next digit begins another.
    std::size_t unit = rest.find_first_not_of("0123456789.");
    std::size_t end = unit == rest.npos ? unit : rest.find_first_of("0123456789.", unit);
    auto part = cli::parse_duration(rest.substr(0, end));
    if (!part)
      return cli::usage_error(str("'", text, "' is not a duration such as 60s, 1m30s or 2h"));
    sum += *part;
    rest = end == rest.npos ? "" : rest.substr(end);
  } while (!rest.empty());
  return sum;
}

Result<WorkerOptions> poll_options(const cli::Args& args, const cli::Context& context) {
  TRY(options, common(args, context));
  if (options.environment_id.empty())
    return missing("environment: --environment-id or ANTHROPIC_ENVIRONMENT_ID");
  if (options.key.empty()) return missing("key: ANTHROPIC_ENVIRONMENT_KEY (never a flag)");
  options.worker_id = given(args, context, "--worker-id", "ANTHROPIC_WORKER_ID");
  if (options.worker_id.empty()) options.worker_id = default_worker_id();
  TRY(sessions, args.number("--max-sessions", 1, kMostSessions, 1));
  options.max_sessions = static_cast<int>(sessions);
  options.drain = args.flag("--drain");
  options.heartbeat = args.flag("--heartbeat");
  const std::string script = args.option("--on-work").value_or("");
  if (!script.empty() && script != kBuiltIn) {
    if (options.sandbox) return cli::usage_error("--sandbox and --on-work exclude each other");
    TRY(path, usable_script(script), "--on-work");
    options.script = std::move(path);
  }
  if (options.heartbeat && options.script.empty())
    return cli::usage_error("--heartbeat is for --on-work: else it is done anyway");
  return options;
}

Result<RunOptions> run_options(const cli::Args& args, const cli::Context& context,
                               std::optional<std::string> work_json) {
  RunOptions run;
  TRY(options, common(args, context));
  run.worker = std::move(options);
  if (work_json) {
    TRY(work, runner::decode_work(*work_json), "stdin");
    if (!work) return Error{Code::invalid, "stdin: there is no work item"};
    run.work = std::move(*work);
  }
  runner::Work& work = run.work;
  if (work.id.empty()) work.id = given(args, context, "--work-id", "ANTHROPIC_WORK_ID");
  if (work.kind.empty()) {
    work.session_id = given(args, context, "--session-id", "ANTHROPIC_SESSION_ID");
    work.kind = "session";
  }
  if (work.environment_id.empty()) work.environment_id = run.worker.environment_id;
  if (work.token.empty())
    work.token = runner::sessions_token(context.variable("ANTHROPIC_WORK_SECRET").value_or(""));
  if (work.id.empty()) return missing("work item: --work-id or ANTHROPIC_WORK_ID");
  if (work.kind == "session" && work.session_id.empty())
    return missing("session: --session-id or ANTHROPIC_SESSION_ID");
  if (work.environment_id.empty())
    return missing("environment: --environment-id or ANTHROPIC_ENVIRONMENT_ID");
  if (work.token.empty() && run.worker.key.empty())
    return missing(
        "credential: ANTHROPIC_ENVIRONMENT_KEY, or ANTHROPIC_WORK_SECRET (never a flag)");
  return run;
}

}  // namespace glovebox::app
