// Takes a tar (plain or compressed) apart into a tree: owners, modes, times, hard links, holes and
// user attributes are kept. With `layer` the names that begin with ".wh." take away what earlier
// layers put there.
//
// Refused: devices and sockets, absolute names and "..", owners no box has. Left out: attributes
// other than user.*, so capabilities of files and what overlayfs would obey.
//
// With `over` it is what `pack` made of a box's own files, and the tree is an overlay: a device 0:0
// takes a name of the image away, a directory with kHides hides what was there before.
#pragma once

#include "image/report.h"

namespace glovebox::image {

struct UnpackOptions {
  bool layer = false;
  bool over = false;
};
// Reads `archive` to its end. An error leaves a tree that is half there.
Result<void> unpack(int archive, int tree, const UnpackOptions& options, Report& report);
// Whether there is a tar in this compressed file.
bool holds_tar(int file);

}  // namespace glovebox::image
