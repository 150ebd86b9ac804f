// Reading foreign JSON without surprises. Only for .cc files.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::runner {

// Deeper than the library's 32, because tool inputs are as deep as a model makes them: one such
// event must not make a whole page of history unreadable. Nor must half a surrogate pair, which
// models do write: it is read as U+FFFD.
Result<boost::json::value> parse_json(std::string_view text);
// The same in memory of the caller's, which the value must not outlive.
Result<boost::json::value> parse_json(std::string_view text, boost::json::storage_ptr memory);

// As text again. A number beyond every double was read as an infinity, for which JSON has no word:
// it becomes null.
std::string write_json(boost::json::value value);

// The member, if the value is an object that has it; else null.
const boost::json::value* member(const boost::json::value& value, std::string_view key);
// The text, or "" where it is missing or something else.
std::string text(const boost::json::value& value, std::string_view key);

}  // namespace glovebox::runner
