// Taking request bodies apart, and what all objects of the API have in common. Only for .cc files
// of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "brain/records.h"
#include "http/message.h"
#include "wire/decode.h"

namespace glovebox::brain {

// An empty body is an object without members: clients leave it away where all is optional.
Result<boost::json::object> body_of(const http::Request& request);

// Limits of the API count characters, not bytes.
std::size_t characters(std::string_view utf8);
Result<std::optional<std::string>> text_up_to(wire::Members& members, std::string_view key,
                                              std::size_t max_characters);
Result<std::string> required_text(wire::Members& members, std::string_view key,
                                  std::size_t max_characters);
// A text that may be cleared: absent keeps `current`, null and "" make it null.
Result<boost::json::value> text_or_null(wire::Members& members, std::string_view key,
                                        std::size_t max_characters, boost::json::value current);

// At most 16 pairs, keys of 64 and values of 512 characters.
Result<boost::json::object> metadata_of(wire::Members& members);
// A merge: null (in old clients "") deletes a key.
Result<boost::json::object> patch_metadata(wire::Members& members, boost::json::object current);
Result<boost::json::object> patch_metadata(wire::Members& members, std::string_view current);

std::string time_json(Micros time);  // null for never
std::string text_json(std::string_view text);
std::string text_or_null_json(const std::optional<std::string>& text);

}  // namespace glovebox::brain
