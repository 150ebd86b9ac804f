#include "brain/agent_skills.h"

#include <algorithm>
#include <boost/json.hpp>

#include "brain/api_body.h"
#include "brain/json_read.h"

namespace glovebox::brain {

namespace json = boost::json;
using wire::Members;

namespace {

constexpr std::size_t kMaxSkills = 500, kMaxId = 256;
constexpr std::string_view kAbout =
    "Skills are folders with instructions for certain tasks, below the working directory. Before "
    "you do what one of them is for, read its SKILL.md and go by it:";

Result<SkillVersionRow> find(SkillRecords& records, const json::object& skill) {
  TRY(row, records.skill_version(text_of(skill, "skill_id"), text_of(skill, "version")), "skills");
  return row;
}

}  // namespace

Result<json::array> normal_skills(const json::value* skills) {
  json::array normal;
  if (!skills) return normal;
  if (!skills->is_array()) return Error{Code::invalid, "skills: must be an array"};
  if (skills->get_array().size() > kMaxSkills)
    return Error{Code::invalid, str("skills: are more than ", kMaxSkills)};
  for (const json::value& entry : skills->get_array()) {
    TRY(skill, Members::of(entry, str("skills[", normal.size(), "]")));
    TRY(type, required_text(skill, "type", 64));
    if (type == "anthropic")
      return skill.wrong("type", "this server has no prebuilt skills: upload it as a custom one");
    if (type != "custom") return skill.wrong("type", "must be custom");
    TRY(id, required_text(skill, "skill_id", kMaxId));
    TRY(version, text_up_to(skill, "version", kMaxId));
    skill.done();
    for (const json::value& other : normal)
      if (text_of(other.get_object(), "skill_id") == id)
        return skill.wrong("skill_id", "is there already");
    normal.push_back({{"type", type}, {"skill_id", id}, {"version", version.value_or("latest")}});
  }
  return normal;
}

Result<void> check_skills(SkillRecords& records, const json::object& definition) {
  if (const json::array* skills = array_of(definition, "skills"))
    for (const json::value& skill : *skills) TRY_DO(find(records, skill.get_object()));
  return ok;
}

Result<void> pin_skills(SkillRecords& records, json::object& definition) {
  for (json::value& value : definition.at("skills").as_array()) {
    json::object& skill = value.as_object();
    TRY(row, find(records, skill));
    skill["version"] = row.id;
    skill["name"] = row.name;
    skill["description"] = row.description;
  }
  return ok;
}

std::string skill_prompt(const std::string& session_agent) {
  const json::object agent = parse_object(session_agent);
  const json::array* skills = array_of(agent, "skills");
  if (!skills || skills->empty()) return "";
  std::string prompt = str("<skills>\n", kAbout);
  for (const json::value& skill : *skills)
    prompt += str("\n- skills/", text_of(skill.get_object(), "name"),
                  "/SKILL.md: ", text_of(skill.get_object(), "description"));
  return prompt += "\n</skills>";
}

}  // namespace glovebox::brain
