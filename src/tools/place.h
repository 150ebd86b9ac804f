// Where a path of the model leads, and whether it may.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "tools/tools.h"

namespace glovebox::tools {

struct Place {
  std::string path;            // canonical
  std::string read_only_root;  // the root that forbids writing, as configured; empty: none does
};

// Confined to the work directory and the allowed roots. Errors are texts for the model.
Result<Place> locate(const Context& context, std::string_view path);

// The work directory, or `path` where one is given: for searches.
struct SearchRoot {
  std::string path;   // canonical
  std::string shown;  // how results spell it: the work directory as configured, a path canonical
};
Result<SearchRoot> search_root(const Context& context, std::string_view path);

}  // namespace glovebox::tools
