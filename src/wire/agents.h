// What the Managed Agents API says of sessions and items, as far as more than one part reads it.
// Foreign bytes: whatever they are, the answer is a value.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"

namespace glovebox::wire {

struct SkillRef {
  std::string id, version;  // the version may be "latest"
};
// Of the session's own agent; those of its child agents stay away, as with the official worker.
std::vector<SkillRef> skills_of(const boost::json::value& session);

struct MemoryStore {
  std::string id, name, mount_path;
  bool read_only = false;
};
std::vector<MemoryStore> memory_stores_of(const boost::json::value& session);

// The bearer for everything about one item, inside of its `secret`. Empty where there is none: the
// environment's key then stands in.
Secret sessions_token(std::string_view secret);

}  // namespace glovebox::wire
