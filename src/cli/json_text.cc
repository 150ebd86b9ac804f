#include "cli/json_text.h"

#include <time.h>

#include <boost/json.hpp>
#include <cstdio>

#include "base/clock.h"
#include "base/str.h"
#include "cli/output.h"
#include "wire/to_json.h"

namespace glovebox::cli {

namespace json = boost::json;

static std::string text_of(const json::value* value) {
  if (!value || value->is_null()) return "";
  if (value->is_string()) return std::string(value->as_string());
  if (value->is_double()) return str(value->as_double());  // 1 rather than 1.0
  return wire::to_json(*value);
}

std::string text_of(const json::object& object, std::string_view member) {
  return text_of(object.if_contains(member));
}

std::string text_at(const json::value& value, std::string_view pointer) {
  boost::system::error_code wrong;
  return text_of(value.find_pointer(pointer, wrong));
}

std::int64_t millis_of(std::string_view rfc3339) {
  std::string text(rfc3339);
  tm time{};
  int used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &time.tm_year, &time.tm_mon,
                  &time.tm_mday, &time.tm_hour, &time.tm_min, &time.tm_sec, &used) != 6)
    return -1;
  time.tm_year -= 1900;
  time.tm_mon -= 1;
  std::int64_t millis = static_cast<std::int64_t>(::timegm(&time)) * 1000;
  std::int64_t scale = 100;
  if (static_cast<std::size_t>(used) < text.size() && text[static_cast<std::size_t>(used)] == '.')
    for (std::size_t i = static_cast<std::size_t>(used) + 1;
         i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i, scale /= 10)
      millis += (text[i] - '0') * scale;
  return millis;
}

std::string age_of(std::string_view rfc3339) {
  std::int64_t then = millis_of(rfc3339);
  return then < 0 ? "" : human_age(system_clock().unix_ms() - then);
}

}  // namespace glovebox::cli
