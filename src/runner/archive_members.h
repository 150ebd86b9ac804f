// Takes an archive apart with libarchive. This is where hostile bytes meet a large parser, so it is
// linked into the program `glovebox-unpack` and nothing else that has anything to lose.
#pragma once

#include <functional>
#include <string_view>

#include "runner/skill_archive.h"

namespace glovebox::runner {

// `write` is given the records of member_frames.h, in order, but for the last one; false from it
// ends the reading. A zip is read by its central directory, as unzip does; everything else is a
// tar, compressed or not. An error is a reason to refuse the archive.
Result<void> read_members(std::string_view archive, const ArchiveLimits& limits,
                          const std::function<bool(std::string_view)>& write);

}  // namespace glovebox::runner
