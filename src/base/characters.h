// JSON text of foreign origin, made readable.
#pragma once

#include <string>
#include <string_view>

namespace glovebox {

// Without halves of characters: half a surrogate pair (legal in JSON text and in JavaScript, and
// refused by our parser) becomes \ufffd, as does each invalid byte sequence.
std::string whole_characters(std::string_view json);

}  // namespace glovebox
