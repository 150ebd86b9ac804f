// What a skill consists of: files in one folder, with a SKILL.md that says what it is for. Checked
// when it is uploaded, and packed the way workers take it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::brain {

struct SkillFile {
  std::string path;
  std::string content;
  bool executable = false;  // known only of members of archives
};

struct SkillLimits {
  std::size_t files = 1'000;
  std::size_t bytes = 30'000'000;  // of all of them
};

struct SkillPackage {
  std::string name, description;  // out of SKILL.md
  std::string archive;            // a zip of all files, below a folder of that name
  std::size_t bytes = 0;          // unpacked
};

Result<SkillPackage> package_skill(std::vector<SkillFile> files, const SkillLimits& limits = {});

// The head of a SKILL.md: "---", then `name` and `description` among other lines of YAML, "---".
struct SkillHead {
  std::string name, description;
};
Result<SkillHead> skill_head(std::string_view skill_md);

// A zip without compression, the same for the same files. With `#!` at its start a file may be
// executed, too: uploads of single files carry no modes.
std::string zip_of(const std::vector<SkillFile>& files);

}  // namespace glovebox::brain
