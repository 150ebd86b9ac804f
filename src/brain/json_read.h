// Reading JSON that is our own, or a model's: what is missing or of another kind counts as empty.
// (What clients send is read by wire::Members, which refuses.) Only for .cc files of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace glovebox::brain {

boost::json::object parse_object(std::string_view text);
std::string text_of(const boost::json::object& object, std::string_view key);
std::int64_t integer_of(const boost::json::object& object, std::string_view key);
bool flag_of(const boost::json::object& object, std::string_view key);
const boost::json::object* object_of(const boost::json::object& object, std::string_view key);
const boost::json::array* array_of(const boost::json::object& object, std::string_view key);

}  // namespace glovebox::brain
