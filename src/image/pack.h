// The way back of `unpack` with `over`: a box's own files as a compressed tar that says what they
// change of the image below them. A name taken away is a device 0:0, as in the overlay's upper
// directory itself; a directory that hides what is below it has the attribute kHides.
//
// Owners, modes, times, hard links, holes and attributes user.* are kept. Left out: sockets,
// attributes of any other kind.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>
#include <string_view>

#include "image/report.h"

namespace glovebox::image {

constexpr std::string_view kOurAttributes = "user.glovebox.";  // nobody else's survive
constexpr const char* kHides = "user.glovebox.opaque";

// Only the machine's own root can see which directories are: to be called before all is given up.
// Nothing foreign is read but names and that one attribute.
Result<std::set<ino_t>> opaque_directories(const std::string& tree);
// Of a tree that nobody changes.
Result<void> pack(int tree, int to, const std::set<ino_t>& opaque, Report& report);
// How much there is in a tree, as the report counts it.
Result<void> count(int tree, Report& report);

}  // namespace glovebox::image
