// Texts out of JSON that somebody else made: what is not there, or not what it should be, is "".
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace boost::json {
class object;
class value;
}  // namespace boost::json

namespace glovebox::cli {

// A member as text: strings as they are, the rest as JSON, null and nothing as "".
std::string text_of(const boost::json::object& object, std::string_view member);
std::string text_at(const boost::json::value& value, std::string_view pointer);
// "2026-11-20T10:00:01.000210Z" in milliseconds since 1970; -1: it is no time.
std::int64_t millis_of(std::string_view rfc3339);
// How long ago that was, for a table: "3m".
std::string age_of(std::string_view rfc3339);

}  // namespace glovebox::cli
