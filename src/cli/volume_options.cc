#include "cli/volume_options.h"

#include <boost/json.hpp>

#include "cli/command.h"

namespace glovebox::cli {

namespace json = boost::json;

Result<json::object> volume_of(std::string_view where, std::string_view text) {
  auto parts = split(text, ':');
  bool read_only = parts.size() == 3 && parts[2] == "ro";
  if ((parts.size() != 2 && !read_only) || parts[0].empty() || !parts[1].starts_with('/'))
    return usage_error(str(where, ": '", text, "' is not NAME:/path or NAME:/path:ro"));
  return json::object{
      {"file_system_id", parts[0]}, {"mount_path", parts[1]}, {"read_only", read_only}};
}

Result<json::array> volume_options(const Args& args) {
  json::array volumes;
  for (const auto& text : args.options("--volume")) {
    TRY(volume, volume_of("--volume", text));
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

}  // namespace glovebox::cli
