#include "runner/skill_archive.h"

#include <algorithm>
#include <map>
#include <set>

namespace glovebox::runner {

namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxPath = 1024;
constexpr std::size_t kMaxPart = 255;  // NAME_MAX

using Parts = std::vector<std::string>;

struct Plain {
  Parts parts;
  Member member;
};

std::string quoted(std::string_view name) { return str('"', json_escape(name), '"'); }

Error refused(std::string_view why, std::string_view name) {
  return {Code::invalid, str("its member ", quoted(name), " ", why)};
}

// Without the parts that mean nothing: "./pdf//a" is pdf, a.
Parts parts_of(std::string_view name) {
  Parts parts;
  for (std::string& part : split(name, '/'))
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
  return parts;
}

// A backslash separates too, for whoever unpacks elsewhere what we would take for one name.
bool climbs(std::string_view name) {
  std::string slashes(name);
  std::replace(slashes.begin(), slashes.end(), '\\', '/');
  for (const std::string& part : split(slashes, '/'))
    if (trim(part) == "..") return true;
  return false;
}

bool printable_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

// The official worker leaves out a special member by handing its name to unzip or tar, and refuses
// the archive where the name would not arrive there as it is.
bool can_be_left_out(std::string_view name, Packing packing) {
  return !name.empty() && printable_ascii(name) && name.find_first_of("\\^#") == name.npos &&
         !(packing == Packing::zip && name.starts_with('-'));
}

Result<void> check_name(std::string_view name) {
  if (trim(name).starts_with('/')) return refused("has an absolute name", name);
  if (climbs(name)) return refused("climbs out with ..", name);
  return ok;
}

// A name that a box's file API, JSON and a terminal all carry as it is.
Result<void> check_plain(const Member& member, const Parts& parts) {
  const std::string& name = member.name;
  if (valid_utf8(name) != name) return refused("has a name that is not UTF-8", name);
  for (unsigned char c : name)
    if (c < 0x20 || c == 0x7f) return refused("has a control character in its name", name);
  if (member.kind == Member::Kind::file && (parts.empty() || name.ends_with('/')))
    return refused("is a file with the name of a folder", name);
  if (parts.size() > kMaxDepth) return refused(str("is deeper than ", kMaxDepth), name);
  std::size_t length = 0;
  for (const std::string& part : parts) {
    if (part.size() > kMaxPart) return refused("has too long a name", name);
    length += part.size() + 1;
  }
  if (length > kMaxPath) return refused("has too long a name", name);
  return ok;
}

// The one folder that holds everything, as a skill is packed; "" if there is none.
std::string wrapper_of(const std::vector<Plain>& members) {
  std::string top;
  bool nested = false;
  for (const Plain& plain : members) {
    if (plain.parts.empty()) continue;
    if (!top.empty() && plain.parts.front() != top) return "";
    top = plain.parts.front();
    nested |= plain.parts.size() > 1;
  }
  return nested ? top : "";
}

std::string joined(const Parts& parts, std::size_t from, std::size_t to) {
  std::string path;
  for (std::size_t i = from; i < to; ++i) path += (i == from ? "" : "/") + parts[i];
  return path;
}

Result<SkillPlan> lay_out(std::vector<Plain> members) {
  const std::size_t from = wrapper_of(members).empty() ? 0 : 1;
  std::set<std::string> folders;
  std::map<std::string, SkillPlan::File> files;
  for (auto& [parts, member] : members) {
    const bool is_file = member.kind == Member::Kind::file;
    if (is_file && parts.size() <= from)
      return refused("is a file and the folder of all others", member.name);
    for (std::size_t to = from + 1; to < parts.size() + (is_file ? 0 : 1); ++to)
      folders.insert(joined(parts, from, to));
    if (!is_file) continue;
    std::string path = joined(parts, from, parts.size());
    auto added = files.emplace(path, SkillPlan::File{path, member.executable, {}});
    if (!added.second) return refused("is there twice", member.name);
    added.first->second.content = std::move(member.content);
  }
  SkillPlan plan;
  for (auto& [path, file] : files) {
    if (folders.contains(path)) return refused("is a file and a folder", path);
    plan.files.push_back(std::move(file));
  }
  plan.folders.assign(folders.begin(), folders.end());  // sorted: "a" is before "a/b"
  return plan;
}

}  // namespace

std::size_t ArchiveLimits::unpacked_of(std::size_t archive_bytes) const {
  if (archive_bytes > unpacked / ratio) return unpacked;
  return std::min(unpacked, std::max(ratio_from, archive_bytes * ratio));
}

Packing packing_of(std::string_view archive) {
  return archive.starts_with("PK\x03\x04") ? Packing::zip : Packing::tar;
}

Result<SkillPlan> plan_skill(std::vector<Member> members, Packing packing,
                             const ArchiveLimits& limits) {
  if (members.size() > limits.members)
    return Error{Code::too_large, str("it has more than ", limits.members, " members")};
  std::size_t names = 0, unpacked = 0;
  std::vector<Plain> plain;
  std::vector<std::string> left_out;
  for (Member& member : members) {
    names += member.name.size() + 1;
    if (names > limits.names) return Error{Code::too_large, "its names are too long altogether"};
    unpacked += member.content.size();
    if (unpacked > limits.unpacked)
      return Error{Code::too_large, str("it holds more than ", limits.unpacked, " bytes")};
    TRY_DO(check_name(member.name));
    if (member.kind == Member::Kind::special) {
      if (!can_be_left_out(member.name, packing))
        return refused("is no plain file, and cannot be left out by that name", member.name);
      left_out.push_back(std::move(member.name));
      continue;
    }
    Parts parts = parts_of(member.name);
    TRY_DO(check_plain(member, parts));
    plain.push_back({std::move(parts), std::move(member)});
  }
  TRY(plan, lay_out(std::move(plain)));
  plan.left_out = std::move(left_out);
  return plan;
}

}  // namespace glovebox::runner
