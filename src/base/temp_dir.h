// For tests: a directory of their own below TMPDIR, where whoever runs them looks for leftovers.
#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/str.h"

namespace glovebox {

// The caller removes it.
inline std::string make_temp_dir(std::string_view name) {
  const char* below = ::getenv("TMPDIR");
  std::string path = str(below && *below ? below : "/tmp", "/", name, "-XXXXXX");
  if (!::mkdtemp(path.data())) std::abort();
  return path;
}

}  // namespace glovebox
