// Parts of sandboxes' JSON that stand in other objects, too. Only for .cc files of this folder.
#pragma once

#include "wire/decode.h"
#include "wire/sandbox.h"

namespace glovebox::wire {

Result<std::optional<Network>> decode_network(Members& parent);  // its member `network`
boost::json::object network_json(const Network& network);
Result<std::optional<std::string>> decode_name(Members& parent);
Result<std::vector<FileSystem>> decode_file_systems(Members& parent);
Result<void> decode_resources(Members& parent, CreateSandbox& create);
boost::json::object resources_json(const Resources& resources);
boost::json::array texts_json(const std::vector<std::string>& items);

}  // namespace glovebox::wire
