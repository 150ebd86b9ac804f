// The skills of an agent: which ones, in which version, and what the model is told of them. Only
// for .cc files of this folder.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "brain/skill_records.h"

namespace glovebox::brain {

// Of a definition: [{type: custom, skill_id, version}], where "latest" stands for none given.
Result<boost::json::array> normal_skills(const boost::json::value* skills);
// Each is there, in that version.
Result<void> check_skills(SkillRecords& records, const boost::json::object& definition);
// What a session keeps: "latest" is the one it is now, and the model is told what it says of
// itself now.
Result<void> pin_skills(SkillRecords& records, boost::json::object& definition);
// "" for a session whose agent has none.
std::string skill_prompt(const std::string& session_agent);

}  // namespace glovebox::brain
