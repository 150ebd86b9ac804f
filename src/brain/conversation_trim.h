// Making a conversation fit. Only for .cc files of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <string_view>

namespace glovebox::brain {

// One tool result in full; beyond it the model gets the beginning and the end.
constexpr std::size_t kResultCharacters = 100'000;

std::int64_t estimate_tokens(std::string_view text);
std::int64_t estimate_tokens(const boost::json::value& value);

// Cuts the text blocks of one result to `characters` in all, with a note of what is missing.
void shorten_result(boost::json::array& content, std::size_t characters);

// Takes old tool results out of `messages` until they fit into `tokens`, and more where `harder`
// says that the estimate was too kind. Cuts in big steps: each cut makes the prompt cache start
// anew.
void trim(boost::json::array& messages, std::int64_t tokens, int harder);

}  // namespace glovebox::brain
