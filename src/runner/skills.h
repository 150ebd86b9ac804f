// The skills of a session's agent, put under `skills/` of its work directory before the first call
// and taken away after the last. They help and are never needed: what goes wrong with one is a
// warning in the log, and the others are placed all the same.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/loop.h"
#include "runner/files.h"
#include "runner/service.h"
#include "runner/skill_archive.h"
#include "wire/agents.h"

namespace glovebox::runner {

using wire::SkillRef;
std::vector<SkillRef> skills_of(std::string_view session_json);

struct SkillVersion {
  std::string id, name;
};
Result<SkillVersion> decode_skill_version(std::string_view json);

// The folder's name below `skills/`: the last part of the skill's name, else its id.
Result<std::string> skill_folder(std::string_view name, std::string_view skill_id);

class SkillSource {
 public:
  virtual ~SkillSource() = default;
  virtual Task<SkillVersion> version(std::string skill, std::string version) = 0;
  virtual Task<std::string> content(std::string skill, std::string version_id) = 0;
};
// The service's, with one item's bearer.
std::shared_ptr<SkillSource> service_skills(Service& service, Bearer bearer);

// An archive's members, or why it is refused: unpack() of unpack.h, with all but the archive bound.
using Unpack = std::function<Task<std::vector<Member>>(std::string archive)>;

class Skills {
 public:
  Skills(std::shared_ptr<SkillSource> source, std::shared_ptr<Files> files, Unpack unpack,
         ArchiveLimits limits = {});

  // Only Code::cancelled is an error. What was there by the name of a skill goes.
  Task<void> place(std::string session_json);
  // Removes the folders of the skills that were placed, with all that has been put there since.
  // Called also after a place() that was cancelled. Only Code::cancelled is an error.
  Task<void> remove();
  const std::vector<std::string>& folders() const { return folders_; }  // "skills/pdf"

 private:
  Task<void> place_one(SkillRef skill);
  Task<void> write(std::string folder, SkillPlan plan);

  std::shared_ptr<SkillSource> source_;
  std::shared_ptr<Files> files_;
  Unpack unpack_;
  ArchiveLimits limits_;
  std::vector<std::string> folders_;
};

}  // namespace glovebox::runner
