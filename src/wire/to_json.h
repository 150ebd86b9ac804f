// JSON as people and other services write it: 0.5 and 1.0, where Boost.JSON writes 5E-1 and 1E0.
#pragma once

#include <string>

namespace boost::json {
class array;
class object;
class value;
}  // namespace boost::json

namespace glovebox::wire {

// What has no number in JSON (infinity) is null.
std::string to_json(const boost::json::value& value);
std::string to_json(const boost::json::object& object);
std::string to_json(const boost::json::array& array);

}  // namespace glovebox::wire
