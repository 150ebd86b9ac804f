// What of a skill's archive is put on disk, and where: a plan, made from the list of its members
// without touching any disk. The list comes from a process that read hostile bytes, so nothing in
// it is believed: a compromised reader can at most propose other files for the skill's own folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace glovebox::runner {

// The service takes skills below 30 MB unpacked; the official worker stops at 1 MiB of member
// names and has no other limit.
struct ArchiveLimits {
  std::size_t archive = 48 << 20;
  std::size_t unpacked = 64 << 20;
  std::size_t members = 20'000;
  std::size_t names = 1 << 20;  // all of them together
  // A bomb: more than `ratio` times the archive. Small skills may be as empty as they like.
  std::size_t ratio = 250, ratio_from = 8 << 20;
  Millis time{60'000};

  // The most that may come out of `archive_bytes`.
  std::size_t unpacked_of(std::size_t archive_bytes) const;
};

enum class Packing { zip, tar };  // tar: in any compression
Packing packing_of(std::string_view archive);

struct Member {
  enum class Kind : std::uint8_t { file, folder, special };  // special: links, devices, pipes …
  Kind kind = Kind::file;
  bool executable = false;  // for anybody
  std::string name;         // as it stands in the archive
  std::string content;
};

struct SkillPlan {
  struct File {
    std::string path;
    bool executable = false;
    std::string content;
  };
  std::vector<std::string> folders;   // parents first; the skill's own folder is not among them
  std::vector<File> files;            // by path
  std::vector<std::string> left_out;  // special members
};

// Paths are relative to the skill's folder, clean, and differ from one another. Names that differ
// only in case are two files, as everywhere on Linux.
Result<SkillPlan> plan_skill(std::vector<Member> members, Packing packing,
                             const ArchiveLimits& limits);

}  // namespace glovebox::runner
