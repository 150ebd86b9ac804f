#include "base/log.h"

#include <unistd.h>

#include <cstdlib>
#include <ctime>

#include "base/clock.h"

namespace glovebox::log {

std::string_view name(Level level) {
  switch (level) {
    case Level::debug: return "debug";
    case Level::info: return "info";
    case Level::warn: return "warn";
    case Level::error: return "error";
    case Level::off: return "off";
  }
  return "unknown";
}

static Level level_of(std::string_view text, Level otherwise) {
  for (Level level : {Level::debug, Level::info, Level::warn, Level::error, Level::off})
    if (text == name(level)) return level;
  return otherwise;
}

static Level& threshold() {
  static Level level = [] {
    const char* set = std::getenv("GLOVEBOX_LOG");
    return level_of(set ? set : "", Level::info);
  }();
  return level;
}

static std::string& part() {
  static std::string part;
  return part;
}

void set_level(Level level) { threshold() = level; }
bool set_level(std::string_view level) {
  if (level_of(level, Level::info) == Level::info && level != "info") return false;
  threshold() = level_of(level, Level::info);
  return true;
}
void set_part(std::string text) { part() = std::move(text); }

void write(Level level, std::string_view event, Fields fields) {
  if (level < threshold()) return;
  std::int64_t now = system_clock().unix_ms();
  std::time_t seconds = now / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char stamp[40];
  auto n = std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  std::string millis = str(1000 + now % 1000).substr(1);
  std::string line = str("{\"time\":\"", std::string_view(stamp, n), ".", millis,
                         "Z\",\"level\":\"", level, "\",\"event\":\"", json_escape(event), '"');
  if (!part().empty()) line += str(",\"part\":\"", json_escape(part()), '"');
  for (const Field& field : fields) line += str(",\"", json_escape(field.key), "\":", field.json);
  line += "}\n";
  // One write: lines of several processes on one stderr do not mix. A full or closed stderr loses
  // the line.
  [[maybe_unused]] auto written = ::write(2, line.data(), line.size());
}

}  // namespace glovebox::log
