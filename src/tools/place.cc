#include "tools/place.h"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "tools/fs.h"

namespace glovebox::tools {

static Result<std::string> workdir(const Context& context) {
  auto path = canonical(absolute("/", context.workdir));
  if (!path) return Error{Code::invalid, str("working directory: ", reason(path.error()))};
  return *path;
}

Result<Place> locate(const Context& context, std::string_view path) {
  std::string quoted = str("path ", boost::json::serialize(boost::json::string(path)));
  // The official tools' own words for a name that no system call can carry.
  if (path.find('\0') != path.npos)
    return Error{Code::invalid, str(quoted, ": i/o error (ERR_INVALID_ARG_VALUE)")};

  TRY(base, workdir(context));
  auto target = canonical(absolute(base, path));
  if (!target) return Error{Code::invalid, str(quoted, ": ", reason(target.error()))};

  Place place{*target, {}};
  bool allowed = is_within(base, place.path);
  for (const Root& root : context.allowed_roots) {
    auto path_of_root = canonical(absolute("/", root.path));
    if (!path_of_root || !is_within(*path_of_root, place.path)) continue;
    allowed = true;
    if (root.read_only && place.read_only_root.empty()) place.read_only_root = root.path;
  }
  if (allowed) return place;
  return Error{Code::forbidden,
               str(quoted, " is outside the session's working directory",
                   context.allowed_roots.empty() ? "" : " and its other permitted directories")};
}

Result<SearchRoot> search_root(const Context& context, std::string_view path) {
  if (path.empty()) {
    TRY(base, workdir(context));
    return SearchRoot{base, absolute("/", context.workdir)};
  }
  TRY(place, locate(context, path));
  return SearchRoot{place.path, place.path};
}

}  // namespace glovebox::tools
