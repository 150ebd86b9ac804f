#include "cli/top.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "base/clock.h"
#include "cli/blocked_signals.h"
#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/json_text.h"
#include "cli/terminal.h"
#include "cli/wait.h"
#include "net/task.h"

namespace glovebox::cli {

namespace json = boost::json;

namespace {

std::int64_t number_of(const json::object& entry, std::string_view name) {
  return parse_int<std::int64_t>(text_of(entry, name)).value_or(-1);
}

std::string padded(std::string text, std::size_t width, bool right = false) {
  if (text.size() > width) text.resize(width);
  return right ? std::string(width - text.size(), ' ') + text
               : text + std::string(width - text.size(), ' ');
}

std::string of_limit(const json::object& entry, std::string_view used, std::string_view limit) {
  const std::int64_t bytes = number_of(entry, used), most = number_of(entry, limit);
  if (bytes < 0) return "-";
  return most > 0 ? str(human_bytes(static_cast<std::uint64_t>(bytes)), " / ",
                        human_bytes(static_cast<std::uint64_t>(most)))
                  : human_bytes(static_cast<std::uint64_t>(bytes));
}

struct Line {
  double percent = -1;  // -1: not known yet
  std::int64_t memory = 0;
  std::string text;
};

}  // namespace

std::string top_table(const json::array& sandboxes, CpuSamples& before, std::int64_t now_ms,
                      std::size_t rows, std::size_t cols) {
  CpuSamples samples;
  std::vector<Line> lines;
  std::size_t working = 0;
  for (const json::value& item : sandboxes) {
    const json::object& entry = item.as_object();
    const std::string id = text_of(entry, "id"), name = text_of(entry, "name");
    const CpuSample sample{number_of(entry, "cpu_ms"), now_ms};
    samples[id] = sample;
    Line line;
    line.memory = number_of(entry, "memory_bytes");
    auto last = before.find(id);
    if (last != before.end() && now_ms > last->second.at_ms)
      line.percent =
          100.0 *
          static_cast<double>(std::max<std::int64_t>(0, sample.cpu_ms - last->second.cpu_ms)) /
          static_cast<double>(now_ms - last->second.at_ms);
    working += text_of(entry, "in_use") == "true";
    const std::int64_t active = number_of(entry, "last_activity_at");
    line.text = str(padded(printable(name.empty() ? id : name), 28), ' ',
                    padded(printable(text_of(entry, "status")), 12),
                    padded(printable(text_of(entry, "tier")), 8),
                    padded(line.percent < 0 ? "-" : str(std::lround(line.percent), "%"), 6, true),
                    "  ", padded(of_limit(entry, "memory_bytes", "memory_limit_bytes"), 21, true),
                    "  ", padded(of_limit(entry, "disk_bytes", "disk_limit_bytes"), 21, true),
                    padded(text_of(entry, "pids"), 6, true), "  ",
                    text_of(entry, "in_use") == "true"
                        ? "now"
                        : human_age(std::max<std::int64_t>(0, now_ms - active)));
    lines.push_back(std::move(line));
  }
  before = std::move(samples);
  std::ranges::sort(lines, [](const Line& a, const Line& b) {
    return a.percent != b.percent ? a.percent > b.percent : a.memory > b.memory;
  });
  const std::string head = str(padded("SANDBOX", 28), ' ', padded("STATE", 12), padded("TIER", 8),
                               padded("CPU", 6, true), "  ", padded("MEMORY", 21, true), "  ",
                               padded("DISK", 21, true), padded("PIDS", 6, true), "  ACTIVE");
  std::string out =
      str(lines.size(), " sandboxes, ", working, " in use\n", head.substr(0, cols), '\n');
  const std::size_t shown = std::min(lines.size(), rows > 3 ? rows - 3 : 1);
  for (std::size_t i = 0; i < shown; ++i) out += lines[i].text.substr(0, cols) + '\n';
  if (shown < lines.size())
    out += str("… and ", lines.size() - shown, " more\n").substr(0, cols + 3);
  return out;
}

namespace {

Task<void> pause_or_signal(Millis pause, bool* asked_to_end) {
  auto number = co_await net::next_signal({SIGINT, SIGTERM, SIGHUP});
  if (number) *asked_to_end = true;
  (void)pause;
  co_return ok;
}

Task<void> wait_a_moment(Millis pause, bool* asked_to_end) {
  co_return co_await net::first_of(pause_or_signal(pause, asked_to_end), net::sleep(pause));
}

Result<int> run(Context& context, Args& args, Output& out) {
  TRY_DO(args.done());
  TRY(every, args.duration("--every", 2s));
  if (every < 100ms) return usage_error("--every: at least 100ms");
  TRY(times, args.number("--times", 1, 1'000'000, 0));
  TRY(engine, EngineClient::open(context));
  if (out.json()) {
    TRY(list, engine->usage(), "usage");
    out.list(list, {});
    return 0;
  }
  const bool live = ::isatty(STDOUT_FILENO);
  if (!live && times == 0) times = 1;
  CpuSamples samples;
  // A first look, so that what is shown first has a share of the processor in it.
  TRY(list, engine->usage(), "usage");
  (void)top_table(list, samples, system_clock().unix_ms(), 1, 1);
  BlockedSignals blocked({SIGINT, SIGTERM, SIGHUP});
  bool asked_to_end = false;
  TRY_DO(wait(engine->loop(), wait_a_moment(std::min<Millis>(every, 300ms), &asked_to_end)));
  for (std::int64_t shown = 0; !asked_to_end && (times == 0 || shown < times); ++shown) {
    if (shown > 0) TRY_DO(wait(engine->loop(), wait_a_moment(every, &asked_to_end)));
    if (asked_to_end) break;
    TRY(now, engine->usage(), "usage");
    const TerminalSize size = live ? terminal_size(STDOUT_FILENO) : TerminalSize{2000, 160};
    const std::string table =
        top_table(now, samples, system_clock().unix_ms(), size.rows, size.cols);
    // Home, the lines, and away with what was below: nothing flickers.
    std::string screen = live ? "\x1b[H" : "";
    for (const std::string& line : split(table, '\n'))
      if (!line.empty()) screen += str(line, live ? "\x1b[K\n" : "\n");
    if (live) screen += "\x1b[J";
    if (live && shown == 0) screen.insert(0, "\x1b[2J");
    out.text(screen);
    if (!out.written()) return 1;
  }
  return 0;
}

}  // namespace

const Command kTop{.name = "top",
                   .usage = "top [--every=TIME] [--times=N]",
                   .help =
                       "Show what the sandboxes use, again and again.\n"
                       "\n"
                       "One line for each that lives, those that work most first: state and "
                       "tier, share of one processor,\n"
                       "memory and disk beside their limits, processes, and when it was last "
                       "used. Looking wakes none.\n"
                       "--every says how often (2s), --times ends it after as many; in a pipe "
                       "it is shown once, and\n"
                       "--json gives the numbers themselves.",
                   .run = run};

}  // namespace glovebox::cli
