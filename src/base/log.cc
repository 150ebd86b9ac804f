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

static Format& format() {
  static Format format = Format::json;
  return format;
}

void set_format(Format wanted) { format() = wanted; }

static std::string json_line(std::string_view time, Level level, std::string_view event,
                             Fields fields) {
  std::string line = str("{\"time\":\"", time, "\",\"level\":\"", level, "\",\"event\":\"",
                         json_escape(event), '"');
  if (!part().empty()) line += str(",\"part\":\"", json_escape(part()), '"');
  for (const Field& field : fields) line += str(",\"", json_escape(field.key), "\":", field.json);
  return line + "}\n";
}

// A text stands without its quotes where nobody needs them to see where it ends.
static std::string_view bare(std::string_view json) {
  std::string_view inside = json.starts_with('"') ? json.substr(1, json.size() - 2) : json;
  bool plain = !inside.empty() && inside.find_first_of(" \"\\=") == inside.npos;
  return plain ? inside : json;
}

static std::string text_line(std::string_view time, Level level, std::string_view event,
                             Fields fields) {
  std::string word(name(level));
  for (char& c : word) c = static_cast<char>(c - 'a' + 'A');
  std::string line =
      str(time, ' ', word, std::string(word.size() < 5 ? 5 - word.size() : 0, ' '), ' ', event);
  for (const Field& field : fields) line += str(' ', field.key, '=', bare(field.json));
  return line + "\n";
}

void write(Level level, std::string_view event, Fields fields) {
  if (level < threshold()) return;
  std::int64_t now = system_clock().unix_ms();
  std::time_t seconds = now / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char stamp[40];
  auto n = std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
  std::string time = str(std::string_view(stamp, n), '.', str(1000 + now % 1000).substr(1), 'Z');
  std::string line = format() == Format::json ? json_line(time, level, event, fields)
                                              : text_line(time, level, event, fields);
  // One write: lines of several processes on one stderr do not mix. A full or closed stderr loses
  // the line.
  [[maybe_unused]] auto written = ::write(2, line.data(), line.size());
}

}  // namespace glovebox::log
