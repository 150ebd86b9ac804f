// Ids as the API writes them: a prefix and 24 characters of [0-9A-Za-z] that start with "01" and
// sort by the time they were made.
#pragma once

#include <string>
#include <string_view>

namespace glovebox::brain {

std::string new_id(std::string_view prefix);  // "sesn" → "sesn_01…"
// Keys and tokens: prefix and 43 characters from 32 random bytes. "gb-env" → "gb-env-…"
std::string new_secret(std::string_view prefix);
std::string hash_of(std::string_view secret);  // SHA-256, hex: what is stored

}  // namespace glovebox::brain
