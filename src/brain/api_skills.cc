// Skills: uploaded as a form of files or as one zip, kept as versions, downloaded by workers as a
// zip.
#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "brain/multipart.h"
#include "brain/skill_files.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

constexpr std::size_t kMaxDisplayName = 255;
constexpr std::size_t kPiece = 64 * 1024;

// Clients of two generations read it: what the older ones look for stands beside the rest.
std::string skill_json(const SkillRow& row) {
  const std::string latest =
      row.latest_version_id.empty() ? "null" : text_json(row.latest_version_id);
  return str(R"({"id":")", row.id, R"(","type":"skill","display_name":)",
             text_json(row.display_name), R"(,"display_title":)", text_json(row.display_name),
             R"(,"latest_version_id":)", latest, R"(,"latest_version":)", latest,
             R"(,"source":{"type":"custom"},"created_at":)", time_json(row.created_at),
             R"(,"updated_at":)", time_json(row.updated_at), '}');
}

std::string version_json(const SkillVersionRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"skill_version","skill_id":")", row.skill_id,
             R"(","name":)", text_json(row.name), R"(,"directory":)", text_json(row.name),
             R"(,"description":)", text_json(row.description), R"(,"version":")", row.created_at,
             R"(","created_at":)", time_json(row.created_at), '}');
}

class SkillForm final : public FormSink {
 public:
  Result<void> begin(const FormPart& part) override {
    into_ = nullptr;
    if (part.name == "files[]" || part.name == "files") {
      if (!part.filename || part.filename->empty())
        return Error{Code::invalid, "files: each needs a filename, with its folder in it"};
      if (files.size() == limits_.files)
        return Error{Code::invalid, str("files: are more than ", limits_.files)};
      into_ = &files.emplace_back(*part.filename, "").content;
    } else if (part.name == "display_name" || part.name == "display_title") {
      into_ = &display_name.emplace();
    }
    return ok;
  }
  Result<void> data(std::string_view bytes) override {
    if (!into_) return ok;  // a part that is not known here
    bytes_ += bytes.size();
    if (bytes_ > limits_.bytes)
      return Error{Code::too_large, str("files: are over ", limits_.bytes, " bytes")};
    into_->append(bytes);
    return ok;
  }
  Result<void> end() override { return ok; }

  std::vector<SkillFile> files;
  std::optional<std::string> display_name;

 private:
  const SkillLimits limits_;
  std::string* into_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Upload {
  SkillPackage package;
  std::string display_name;
};

Result<SkillForm> form_of(const http::Request& request) {
  TRY(boundary, form_boundary(request.headers.get("Content-Type").value_or("")));
  SkillForm form;
  FormParser parser(boundary, {}, form);
  for (std::string_view rest = request.body; !rest.empty();
       rest.remove_prefix(std::min(kPiece, rest.size())))
    TRY_DO(parser.feed(rest.substr(0, kPiece)));
  TRY_DO(parser.finish());
  return form;
}

Task<Upload> upload_of(const ApiState& api, const http::Request& request) {
  CO_TRY(form, form_of(request));
  if (form.files.size() == 1 && form.files.front().content.starts_with("PK\x03\x04")) {
    if (!api.options.unpack)
      co_return Error{Code::invalid,
                      "files: archives are not unpacked by this server: send each file, with its "
                      "folder in its filename"};
    auto members = co_await api.options.unpack(std::move(form.files.front().content));
    if (!members && members.error().code == Code::cancelled) co_return std::move(members.error());
    if (!members) co_return Error{Code::invalid, str("files: the archive: ", members.error().what)};
    form.files = std::move(*members);
  }
  CO_TRY(package, package_skill(std::move(form.files)));
  std::string display_name(trim(form.display_name.value_or("")));
  if (display_name.empty()) display_name = package.name;
  if (characters(display_name) > kMaxDisplayName || valid_utf8(display_name) != display_name)
    co_return Error{Code::invalid,
                    str("display_name: must be UTF-8 of at most ", kMaxDisplayName, " characters")};
  co_return Upload{std::move(package), std::move(display_name)};
}

SkillVersionRow version_of(const SkillRow& skill, const SkillPackage& package) {
  return {.id = new_id("skver"),
          .skill_id = skill.id,
          .name = skill.name,
          .description = package.description,
          .created_at = now_us()};
}

Result<SkillVersionRow> version_of_path(const Call& call) {
  return call.api.skills.skill_version(call.param("skill"), call.param("version"));
}

}  // namespace

Reply create_skill(Call call) {
  SkillRecords& skills = call.api.skills;
  CO_TRY(upload, co_await upload_of(call.api, call.request));
  const Micros now = now_us();
  const SkillRow row{.id = new_id("skill"),
                     .name = upload.package.name,
                     .display_name = upload.display_name,
                     .created_at = now,
                     .updated_at = now};
  const SkillVersionRow version = version_of(row, upload.package);
  CO_TRY_DO(call.api.store.atomically([&]() -> Result<void> {
    TRY_DO(skills.add_skill(row));
    return skills.add_skill_version(version, upload.package.archive);
  }));
  log::info("skill.created", {{"skill", row.id}, {"name", row.name}});
  CO_TRY(made, skills.skill(row.id));
  co_return http::json(200, skill_json(made));
}

Reply list_skills(Call call) {
  const std::string source = call.query.text("source").value_or("custom");
  const std::string filters = str("skills ", source);
  CO_TRY(page, page_of(call.query, filters));
  std::vector<Listed<SkillRow>> rows;
  if (source == "custom") {  // there are no others
    CO_TRY(found, call.api.skills.skills({.from = page.cursor.number, .limit = page.limit + 1}));
    rows = std::move(found);
  }
  co_return page_json(std::move(rows), page, filters, skill_json);
}

Reply get_skill(Call call) {
  CO_TRY(row, call.api.skills.skill(call.param("skill")));
  co_return http::json(200, skill_json(row));
}

Reply delete_skill(Call call) {
  CO_TRY(row, call.api.skills.skill(call.param("skill")));
  CO_TRY_DO(call.api.skills.remove_skill(row.id));
  log::info("skill.deleted", {{"skill", row.id}});
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"skill_deleted"})"));
}

Reply create_skill_version(Call call) {
  CO_TRY(upload, co_await upload_of(call.api, call.request));
  CO_TRY(skill, call.api.skills.skill(call.param("skill")));
  if (upload.package.name != skill.name)
    co_return Error{Code::invalid,
                    str("SKILL.md: name: is \"", skill.name, "\" in all versions of this skill")};
  const SkillVersionRow row = version_of(skill, upload.package);
  CO_TRY_DO(call.api.skills.add_skill_version(row, upload.package.archive));
  log::info("skill.version_created", {{"skill", skill.id}, {"version", row.id}});
  co_return http::json(200, version_json(row));
}

Reply list_skill_versions(Call call) {
  CO_TRY(skill, call.api.skills.skill(call.param("skill")));
  const std::string filters = str("skill_versions ", skill.id);
  CO_TRY(page, page_of(call.query, filters));
  CO_TRY(rows, call.api.skills.skill_versions(
                   skill.id, {.from = page.cursor.number, .limit = page.limit + 1}));
  co_return page_json(std::move(rows), page, filters, version_json);
}

Reply get_skill_version(Call call) {
  CO_TRY(row, version_of_path(call));
  co_return http::json(200, version_json(row));
}

Reply get_skill_content(Call call) {
  CO_TRY(row, version_of_path(call));
  CO_TRY(archive, call.api.skills.skill_archive(row.id));
  http::Response response;
  response.headers.set("Content-Type", "application/zip");
  response.body = std::move(archive);
  co_return response;
}

Reply delete_skill_version(Call call) {
  CO_TRY(row, version_of_path(call));
  CO_TRY_DO(call.api.skills.remove_skill_version(row.id));
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"skill_version_deleted"})"));
}

}  // namespace glovebox::brain
