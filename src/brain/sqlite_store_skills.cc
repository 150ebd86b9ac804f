#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kSkillColumns =
    "number, id, name, display_name, created_at, updated_at, coalesce((SELECT v.id FROM "
    "skill_versions v WHERE v.skill_id = skills.id ORDER BY v.number DESC LIMIT 1), '') "
    "FROM skills";

Listed<SkillRow> skill_of(const store::Statement& query) {
  return {query.integer(0), SkillRow{.id = query.text(1),
                                     .name = query.text(2),
                                     .display_name = query.text(3),
                                     .latest_version_id = query.text(6),
                                     .created_at = query.integer(4),
                                     .updated_at = query.integer(5)}};
}

constexpr std::string_view kVersionColumns =
    "v.number, v.id, v.skill_id, s.name, v.description, v.created_at "
    "FROM skill_versions v JOIN skills s ON s.id = v.skill_id WHERE v.skill_id = ?";

Listed<SkillVersionRow> version_of(const store::Statement& query) {
  return {query.integer(0), SkillVersionRow{.id = query.text(1),
                                            .skill_id = query.text(2),
                                            .name = query.text(3),
                                            .description = query.text(4),
                                            .created_at = query.integer(5)}};
}

// Skills are not archived.
ListQuery all_of(ListQuery query) {
  query.include_archived = true;
  return query;
}

}  // namespace

Result<void> SqliteStore::add_skill(const SkillRow& row) {
  TRY(statement, db_.prepare("INSERT INTO skills(id, name, display_name, created_at, updated_at) "
                             "VALUES (?, ?, ?, ?, ?)"));
  statement.bind(row.id, row.name, row.display_name, row.created_at, row.updated_at);
  auto added = statement.run();
  if (!added && added.error().code == Code::conflict)
    return Error{Code::conflict, str("there is a skill \"", row.name, "\" already"),
                 "skill_name_taken"};
  return added;
}

Result<SkillRow> SqliteStore::skill(std::string_view id) {
  TRY(query, db_.prepare(str("SELECT ", kSkillColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (!found) return Error{Code::not_found, str("there is no skill ", id)};
  return skill_of(query).row;
}

Result<void> SqliteStore::remove_skill(std::string_view id) {
  return atomically([&]() -> Result<void> {
    for (auto sql :
         {"DELETE FROM skill_archives WHERE version IN (SELECT number FROM skill_versions WHERE "
          "skill_id = ?)",
          "DELETE FROM skill_versions WHERE skill_id = ?", "DELETE FROM skills WHERE id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<SkillRow>>> SqliteStore::skills(const ListQuery& query) {
  const ListQuery list = all_of(query);
  TRY(statement, db_.prepare(str("SELECT ", kSkillColumns, " WHERE ", list_conditions("", list),
                                 list_order("", list))));
  bind_list(statement, list);
  statement.bind(list.limit);
  return rows_of<SkillRow>(statement, skill_of);
}

Result<void> SqliteStore::add_skill_version(const SkillVersionRow& row, std::string_view archive) {
  return atomically([&]() -> Result<void> {
    TRY(statement, db_.prepare("INSERT INTO skill_versions(id, skill_id, description, created_at) "
                               "VALUES (?, ?, ?, ?)"));
    TRY_DO(statement.bind(row.id, row.skill_id, row.description, row.created_at).run());
    TRY(content, db_.prepare("INSERT INTO skill_archives(version, archive) VALUES ((SELECT number "
                             "FROM skill_versions WHERE id = ?), CAST(? AS BLOB))"));
    TRY_DO(content.bind(row.id, archive).run());
    TRY(skill, db_.prepare("UPDATE skills SET updated_at = ? WHERE id = ?"));
    return skill.bind(row.created_at, row.skill_id).run();
  });
}

Result<SkillVersionRow> SqliteStore::skill_version(std::string_view skill,
                                                   std::string_view version) {
  const bool latest = version == "latest";
  TRY(query, db_.prepare(str("SELECT ", kVersionColumns,
                             latest ? "" : " AND (v.id = ? OR CAST(v.created_at AS TEXT) = ?)",
                             " ORDER BY v.number DESC LIMIT 1")));
  query.bind(skill);
  if (!latest) query.bind(version, version);
  TRY(found, query.step());
  if (!found)
    return Error{Code::not_found, str("there is no version ", version, " of skill ", skill)};
  return version_of(query).row;
}

Result<std::string> SqliteStore::skill_archive(std::string_view version_id) {
  TRY(query, db_.prepare("SELECT a.archive FROM skill_archives a JOIN skill_versions v ON "
                         "v.number = a.version WHERE v.id = ?"));
  TRY(found, query.bind(version_id).step());
  if (!found) return Error{Code::not_found, str("there is no skill version ", version_id)};
  return query.text(0);
}

Result<void> SqliteStore::remove_skill_version(std::string_view version_id) {
  return atomically([&]() -> Result<void> {
    for (auto sql : {"DELETE FROM skill_archives WHERE version = (SELECT number FROM "
                     "skill_versions WHERE id = ?)",
                     "DELETE FROM skill_versions WHERE id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(version_id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<SkillVersionRow>>> SqliteStore::skill_versions(std::string_view skill,
                                                                         const ListQuery& query) {
  const ListQuery list = all_of(query);
  TRY(statement, db_.prepare(str("SELECT ", kVersionColumns, " AND ", list_conditions("v.", list),
                                 list_order("v.", list))));
  statement.bind(skill);
  bind_list(statement, list);
  statement.bind(list.limit);
  return rows_of<SkillVersionRow>(statement, version_of);
}

}  // namespace glovebox::brain
