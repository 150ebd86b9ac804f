// Logs are JSON lines on stderr: a stable event name and fields; one line when something changes
// state.
//   log::info("sandbox.state", {{"sandbox", id}, {"from", state}, {"to", next}});
// `error` means someone should look.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/str.h"

namespace glovebox::log {

enum class Level { debug, info, warn, error, off };
std::string_view name(Level level);

struct Field {
  std::string key;
  std::string json;  // already a JSON value
  template <class T>
  Field(std::string_view key, const T& value) : key(key) {
    if constexpr (std::is_same_v<T, bool> ||
                  (std::is_arithmetic_v<T> && !std::is_same_v<T, char>)) {
      json = str(value);
    } else {
      json = str('"', json_escape(str(value)), '"');
    }
  }
};
using Fields = std::initializer_list<Field>;

void set_level(Level level);             // default info; GLOVEBOX_LOG=debug|info|warn|error|off
bool set_level(std::string_view level);  // false: no such level
void set_part(std::string part);         // stands in every line as "part"
enum class Format { json, text };        // text: "TIME LEVEL event key=value …", for people
void set_format(Format format);
void write(Level level, std::string_view event, Fields fields);

inline void debug(std::string_view event, Fields fields = {}) {
  write(Level::debug, event, fields);
}
inline void info(std::string_view event, Fields fields = {}) { write(Level::info, event, fields); }
inline void warn(std::string_view event, Fields fields = {}) { write(Level::warn, event, fields); }
inline void error(std::string_view event, Fields fields = {}) {
  write(Level::error, event, fields);
}

}  // namespace glovebox::log
