#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>

#include "app/commands.h"
#include "app/config.h"
#include "base/clock.h"
#include "cli/brain_client.h"

namespace glovebox::app {

namespace {

// The older files of a log (PART.log.1, .2) that nobody has written to for `age`.
Result<std::int64_t> prune_logs(const std::string& state, Millis age) {
  std::string directory = state + "/log";
  std::int64_t removed = 0;
  DIR* entries = ::opendir(directory.c_str());
  if (!entries) {
    if (errno == ENOENT) return removed;
    return sys_error(directory);
  }
  std::int64_t before = (system_clock().unix_ms() - age.count()) / 1000;
  Result<std::int64_t> result = removed;
  while (const dirent* entry = ::readdir(entries)) {
    std::string_view name = entry->d_name;
    if (!name.ends_with(".log.1") && !name.ends_with(".log.2")) continue;
    std::string path = str(directory, '/', name);
    struct stat info{};
    if (::lstat(path.c_str(), &info) < 0 || info.st_mtime > before) continue;
    if (::unlink(path.c_str()) < 0) {
      result = sys_error(path);
      break;
    }
    result = ++removed;
  }
  ::closedir(entries);
  return result;
}

Result<int> prune(cli::Context& context, cli::Args& args, cli::Output& out) {
  TRY_DO(args.done());
  TRY(age, args.duration("--older-than", std::chrono::hours(24 * 30)));
  boost::json::object shown;
  {
    TRY(brain, cli::BrainClient::open(context));
    boost::json::object body{{"older_than_secs", std::chrono::ceil<Seconds>(age).count()}};
    TRY(done, brain->post("/glovebox/v1/prune", boost::json::serialize(body)), "prune events");
    shown = std::move(done);
  }
  if (args.flag("--logs")) {
    TRY(config, load_config(context));
    TRY(removed, prune_logs(config.state, age), "prune logs");
    shown["logs_removed"] = removed;
  }
  out.object(shown);
  return 0;
}

}  // namespace

const cli::Command kPrune{
    .name = "prune",
    .usage = "prune [--older-than=TIME] [--logs]",
    .help =
        "Remove sessions, with their events, in which nothing happened for 30 days.\n"
        "\n"
        "--older-than says how long (30d, 12h); sessions that run are never removed. With --logs\n"
        "older log files of that age go too. brain.keep_events_days does it by itself.",
    .run = prune};

}  // namespace glovebox::app
