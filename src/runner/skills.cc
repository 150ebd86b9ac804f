#include "runner/skills.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/log.h"
#include "http/client.h"
#include "net/task.h"
#include "runner/json.h"

namespace glovebox::runner {

namespace {

constexpr std::size_t kMaxSkills = 100;  // the service allows an agent a fifth of that
constexpr int kFileMode = 0644, kProgramMode = 0755;

class ServiceSkills : public SkillSource {
 public:
  ServiceSkills(Service& service, Bearer bearer) : service_(service), bearer_(std::move(bearer)) {}
  Task<SkillVersion> version(std::string skill, std::string version) override {
    CO_TRY(answer, co_await service_.call("GET", target(skill, version), "",
                                          Service::Family::skills, bearer_));
    co_return decode_skill_version(answer);
  }
  Task<std::string> content(std::string skill, std::string version_id) override {
    return service_.download(target(skill, version_id) + "/content", ArchiveLimits().archive,
                             bearer_);
  }

 private:
  static std::string target(std::string_view skill, std::string_view version) {
    return str("/v1/skills/", http::encode_path(skill), "/versions/", http::encode_path(version));
  }
  Service& service_;
  const Bearer bearer_;
};

}  // namespace

std::vector<SkillRef> skills_of(std::string_view session_json) {
  auto session = parse_json(session_json);
  return session ? wire::skills_of(*session) : std::vector<SkillRef>();
}

Result<SkillVersion> decode_skill_version(std::string_view json) {
  TRY(value, parse_json(json), "skill version");
  SkillVersion version{text(value, "id"), text(value, "name")};
  if (version.id.empty()) return Error{Code::invalid, "skill version: it has no id"};
  return version;
}

Result<std::string> skill_folder(std::string_view name, std::string_view skill_id) {
  name = trim(name);
  while (name.ends_with('/')) name.remove_suffix(1);
  name.remove_prefix(name.rfind('/') + 1);  // npos + 1 is 0
  if (name.empty() || name == "." || name == "..") name = skill_id;
  if (!single_name(name))
    return Error{Code::invalid, str("\"", json_escape(name), "\" cannot be the name of a folder")};
  return std::string(name);
}

std::shared_ptr<SkillSource> service_skills(Service& service, Bearer bearer) {
  return std::make_shared<ServiceSkills>(service, std::move(bearer));
}

Skills::Skills(std::shared_ptr<SkillSource> source, std::shared_ptr<Files> files, Unpack unpack,
               ArchiveLimits limits)
    : source_(std::move(source)),
      files_(std::move(files)),
      unpack_(std::move(unpack)),
      limits_(limits) {}

Task<void> Skills::place(std::string session_json) {
  auto skills = skills_of(session_json);
  if (skills.size() > kMaxSkills) {
    log::warn("skills.too_many", {{"skills", skills.size()}, {"placed", kMaxSkills}});
    skills.resize(kMaxSkills);
  }
  for (SkillRef& skill : skills) {
    const std::string id = skill.id;
    auto placed = co_await place_one(std::move(skill));
    if (placed) continue;
    if (placed.error().code == Code::cancelled) co_return placed;
    log::warn("skill.missing", {{"skill", id}, {"error", placed.error().what}});
  }
  co_return ok;
}

Task<void> Skills::place_one(SkillRef skill) {
  CO_TRY(version, co_await source_->version(skill.id, skill.version), "version ", skill.version);
  CO_TRY(name, skill_folder(version.name, skill.id));
  CO_TRY(archive, co_await source_->content(skill.id, version.id), "content");
  const std::string folder = "skills/" + name;
  // Known before it is there: whatever interrupts us, remove() finds it.
  if (std::find(folders_.begin(), folders_.end(), folder) == folders_.end())
    folders_.push_back(folder);
  CO_TRY_DO(co_await files_->remove_tree(folder), "what was in the way");
  const Packing packing = packing_of(archive);
  CO_TRY(members, co_await unpack_(std::move(archive)), "archive");
  CO_TRY(plan, plan_skill(std::move(members), packing, limits_), "archive");
  const std::size_t left_out = plan.left_out.size(), files = plan.files.size();
  auto written = co_await write(folder, std::move(plan));
  if (!written) {
    // Half a skill misleads more than none.
    if (written.error().code != Code::cancelled) (void)co_await files_->remove_tree(folder);
    co_return written;
  }
  log::info("skill.placed", {{"skill", skill.id},
                             {"version", version.id},
                             {"folder", folder},
                             {"files", files},
                             {"left_out", left_out}});
  co_return ok;
}

Task<void> Skills::write(std::string folder, SkillPlan plan) {
  CO_TRY_DO(co_await files_->make_folder(folder), folder);
  for (const std::string& below : plan.folders)
    CO_TRY_DO(co_await files_->make_folder(str(folder, '/', below)), below);
  for (SkillPlan::File& file : plan.files)
    CO_TRY_DO(co_await files_->write_file(str(folder, '/', file.path), std::move(file.content),
                                          file.executable ? kProgramMode : kFileMode),
              file.path);
  co_return ok;
}

Task<void> Skills::remove() {
  while (!folders_.empty()) {
    const std::string folder = folders_.back();
    auto removed = co_await files_->remove_tree(folder);
    if (!removed && removed.error().code == Code::cancelled) co_return removed;
    if (!removed) log::warn("skill.left", {{"folder", folder}, {"error", removed.error().what}});
    folders_.pop_back();
  }
  co_return ok;
}

}  // namespace glovebox::runner
