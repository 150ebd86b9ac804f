// Making a conversation fit. Only for .cc files of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <optional>
#include <string_view>

namespace glovebox::brain {

// One tool result in full; beyond it the model gets the beginning and the end.
constexpr std::size_t kResultCharacters = 100'000;

std::int64_t estimate_tokens(std::string_view text);
std::int64_t estimate_tokens(const boost::json::value& value);

// Cuts the text blocks of one result to `characters` in all, with a note of what is missing.
void shorten_result(boost::json::array& content, std::size_t characters);

bool is_media(const boost::json::value& block);  // an image, a document

// A tool result with a note in place of what it said; nothing where `block` is none, or a short
// one.
std::optional<boost::json::object> without_result(const boost::json::value& block);

// What messages may have where there is room for `tokens` by estimate; `harder` says how often that
// was too kind.
std::int64_t room_for(std::int64_t tokens, int harder);

// What is left to do where leaving out results was not enough: takes images and documents out of
// `messages` until they fit into `room`, and shortens where `harder` asks for it.
void trim(boost::json::array& messages, std::int64_t room, int harder);

}  // namespace glovebox::brain
