// The names of memories and of the folders they are mounted at.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::brain {

// "/projects/notes.md": 1 to 20 parts, at most 1,024 bytes. That it is in Unicode's normal form C
// is left to the client: without it, two names may look alike, and no more than that.
Result<void> check_memory_path(std::string_view path);
// Of the folder below /mnt/memory: "Pers. notes" → "pers-notes".
std::string memory_slug(std::string_view store_name);

}  // namespace glovebox::brain
