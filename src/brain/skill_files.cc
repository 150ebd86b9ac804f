#include "brain/skill_files.h"

#include <algorithm>
#include <set>

namespace glovebox::brain {
namespace {

constexpr std::size_t kMaxPath = 512, kMaxName = 64, kMaxDescription = 1024;

Error wrong(std::string what) { return Error{Code::invalid, "files: " + std::move(what)}; }

// Plain ASCII: workers list archives with tools that write anything else in their own way.
Result<void> check_path(std::string_view path) {
  const bool plain = std::ranges::all_of(
      path, [](char c) { return c >= ' ' && c <= '~' && c != '\\' && c != '"'; });
  if (!plain || path.empty() || path.size() > kMaxPath)
    return wrong(str("a name has to be plain ASCII of at most ", kMaxPath, " characters: \"",
                     valid_utf8(path.substr(0, 100)), '"'));
  for (const auto& part : split(path, '/'))
    if (part.empty() || part == "." || part == "..")
      return wrong(str("\"", path, "\" is no clean relative path"));
  return ok;
}

// All files are below one folder, whose name is not looked at: the skill's own takes its place.
Result<void> strip_top_folder(std::vector<SkillFile>& files) {
  const std::string top = files.front().path.substr(0, files.front().path.find('/') + 1);
  for (auto& file : files) {
    if (top.empty() || !file.path.starts_with(top))
      return wrong("have to be below one folder: give their names as folder/SKILL.md");
    file.path.erase(0, top.size());
  }
  return ok;
}

// No file twice, and none where another one needs a folder.
Result<void> check_tree(const std::vector<SkillFile>& files) {
  std::set<std::string_view> paths;
  for (const auto& file : files)
    if (!paths.insert(file.path).second) return wrong(str("\"", file.path, "\" is there twice"));
  for (std::string_view path : paths)
    for (auto slash = path.rfind('/'); slash != path.npos; slash = path.substr(0, slash).rfind('/'))
      if (paths.contains(path.substr(0, slash)))
        return wrong(str("\"", path.substr(0, slash), "\" is a file and a folder"));
  return ok;
}

Result<void> check_head(const SkillHead& head) {
  auto bad = [](std::string what) { return Error{Code::invalid, "SKILL.md: " + std::move(what)}; };
  if (head.name.empty() || head.name.size() > kMaxName ||
      head.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != head.name.npos)
    return bad(str("name: must have 1 to ", kMaxName, " characters of a-z, 0-9 and -"));
  for (std::string_view reserved : {"anthropic", "claude"})
    if (head.name.contains(reserved)) return bad(str("name: must not contain ", reserved));
  const auto characters =
      std::ranges::count_if(head.description, [](char c) { return (c & 0xc0) != 0x80; });
  if (characters < 1 || characters > static_cast<std::ptrdiff_t>(kMaxDescription))
    return bad(str("description: must have 1 to ", kMaxDescription, " characters"));
  return ok;
}

}  // namespace

Result<SkillPackage> package_skill(std::vector<SkillFile> files, const SkillLimits& limits) {
  if (files.empty()) return wrong("are required");
  if (files.size() > limits.files) return wrong(str("are more than ", limits.files));
  SkillPackage package;
  for (const auto& file : files) {
    TRY_DO(check_path(file.path));
    package.bytes += file.content.size();
  }
  if (package.bytes > limits.bytes) return wrong(str("are over ", limits.bytes, " bytes"));
  TRY_DO(strip_top_folder(files));
  TRY_DO(check_tree(files));
  auto about = std::ranges::find(files, "SKILL.md", &SkillFile::path);
  if (about == files.end()) return wrong("there is no SKILL.md in their folder");
  TRY(head, skill_head(about->content));
  TRY_DO(check_head(head));
  std::ranges::sort(files, {}, &SkillFile::path);
  for (auto& file : files) file.path.insert(0, head.name + '/');
  package.name = std::move(head.name);
  package.description = std::move(head.description);
  package.archive = zip_of(files);
  return package;
}

}  // namespace glovebox::brain
