// What the hand does for those who keep trees in a box from outside, a session's skills and
// memories. All of it is `file` operations (wire/hand.h) with verbs of their own, which follow no
// link; a path that does not begin with "/" counts from the box's work directory:
//   scan PATH             stdout: JSON as of GET /trees
//   folder PATH           made, with those above it; there already is success
//   place PATH BASE MODE  stdin → file. BASE is a folder that is there and above PATH; MODE is
//   octal remove PATH           with all below it; gone already is success
#pragma once

#include <cstddef>
#include <string_view>

namespace glovebox::wire {

constexpr bool is_tree_verb(std::string_view verb) {
  return verb == "scan" || verb == "folder" || verb == "place" || verb == "remove";
}

// After the key in the argv of a tool call may stand, so many times, "rw:DIR" or "ro:DIR": where it
// may go beside the work directory.
inline constexpr std::size_t kMaxToolRoots = 16;

}  // namespace glovebox::wire
