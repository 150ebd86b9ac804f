// What the store keeps of skills: a row for each, and one with an archive for each version.
#pragma once

#include "brain/records.h"

namespace glovebox::brain {

struct SkillRow {
  std::string id;
  std::string name;  // of all its versions; no other skill has it
  std::string display_name;
  std::string latest_version_id;  // "": all are deleted
  Micros created_at = 0, updated_at = 0;
};

struct SkillVersionRow {
  std::string id, skill_id;
  std::string name, description;
  Micros created_at = 0;
};

class SkillRecords {
 public:
  virtual ~SkillRecords() = default;

  virtual Result<void> add_skill(const SkillRow& row) = 0;  // Code::conflict: the name
  virtual Result<SkillRow> skill(std::string_view id) = 0;
  virtual Result<void> remove_skill(std::string_view id) = 0;  // with its versions
  virtual Result<std::vector<Listed<SkillRow>>> skills(const ListQuery& query) = 0;

  virtual Result<void> add_skill_version(const SkillVersionRow& row, std::string_view archive) = 0;
  // By its id, by "latest", or by its time in microseconds, as older clients do.
  virtual Result<SkillVersionRow> skill_version(std::string_view skill,
                                                std::string_view version) = 0;
  virtual Result<std::string> skill_archive(std::string_view version_id) = 0;
  virtual Result<void> remove_skill_version(std::string_view version_id) = 0;
  virtual Result<std::vector<Listed<SkillVersionRow>>> skill_versions(std::string_view skill,
                                                                      const ListQuery& query) = 0;
};

}  // namespace glovebox::brain
