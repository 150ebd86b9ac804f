// A part's log file. Parts write to it directly (O_APPEND), so that nothing is lost when the
// supervisor dies; the supervisor only keeps it from growing without end.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::app {

Result<Fd> open_log(const std::string& path);
// Beyond `limit` bytes the file is copied to PATH.1 (what was there to PATH.2) and emptied. Writers
// keep their descriptor, and go on at the new beginning; a line written between the copy and the
// emptying is lost.
Result<void> rotate_log(const std::string& path, std::uint64_t limit);

}  // namespace glovebox::app
