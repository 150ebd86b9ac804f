// COPY and ADD: chosen parts of one tree into another. Both are hostile: a context somebody sent,
// an image somebody made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "image/report.h"

namespace glovebox::image {

struct CopyPlan {
  std::vector<std::string> sources;  // paths in the source tree, with patterns
  std::string dest;                  // a path in the tree; ends in '/' for "into this directory"
  std::string owner;                 // "USER[:GROUP]", names of the tree's or numbers; empty: 0:0
  std::optional<unsigned> mode;      // of files and directories; without it their own
  bool extract = false;              // a source that is a tar is taken apart (ADD)
};
// A directory's content is copied, not the directory itself. A source that is a link is followed,
// inside its tree; links below one are copied.
Result<void> copy(int source, int tree, const CopyPlan& plan, Report& report);
// Names what `copy` would put there: equal digests, equal copies.
Result<std::string> digest(int source, const CopyPlan& plan, Report& report);

}  // namespace glovebox::image
