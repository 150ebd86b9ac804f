// What `glovebox worker` was told: flags, and the variables of the official worker that stand
// behind them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "cli/command.h"
#include "http/client.h"
#include "runner/work.h"

namespace glovebox::app {

struct WorkerOptions {
  std::string environment_id, worker_id;
  std::string service_url;
  bool base_url_is_set = false;  // by somebody, not just by us
  http::Url url;
  http::Headers headers;  // of every request to the service
  Secret key;             // the environment's; may be missing where an item brings a token
  std::string workdir;    // absolute, and there
  std::string image;      // of boxes
  Millis max_idle{60'000};
  bool sandbox = false;
  log::Format log_format = log::Format::text;
  // Of `poll`:
  std::string script;  // absolute; "": items are served in this process
  int max_sessions = 1;
  bool heartbeat = false, drain = false;
};

Result<WorkerOptions> poll_options(const cli::Args& args, const cli::Context& context);
// `work_json` is the item where it comes on stdin; else it is what flags and variables say.
struct RunOptions {
  WorkerOptions worker;
  runner::Work work;
};
Result<RunOptions> run_options(const cli::Args& args, const cli::Context& context,
                               std::optional<std::string> work_json);

// "90s", "1m30s", "1.5h"; 0 is 0.
Result<Millis> parse_long_duration(std::string_view text);

}  // namespace glovebox::app
