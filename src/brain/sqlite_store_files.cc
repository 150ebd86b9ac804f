#include "brain/sqlite_store.h"
#include "brain/sqlite_text.h"

namespace glovebox::brain {
namespace {

constexpr std::string_view kColumns =
    "number, id, filename, mime_type, size_bytes, created_at, expires_at FROM files";

Listed<FileRow> file_of(const store::Statement& query) {
  return {query.integer(0), FileRow{.id = query.text(1),
                                    .filename = query.text(2),
                                    .mime_type = query.text(3),
                                    .size_bytes = query.integer(4),
                                    .created_at = query.integer(5),
                                    .expires_at = query.integer(6)}};
}

Error no_file(std::string_view id) { return Error{Code::not_found, str("there is no file ", id)}; }

}  // namespace

Result<void> SqliteStore::add_file(const FileRow& row, std::string_view content,
                                   std::int64_t quota) {
  return atomically([&]() -> Result<void> {
    TRY(sum, db_.prepare("SELECT coalesce(sum(length(content)), 0) FROM file_contents"));
    TRY_DO(sum.step());
    if (sum.integer(0) + row.size_bytes > quota)
      return Error{Code::invalid,
                   str("all files together may have ", quota, " bytes: delete some first"),
                   "storage_quota_exceeded"};
    TRY(statement, db_.prepare("INSERT INTO files(id, filename, mime_type, size_bytes, created_at, "
                               "expires_at) VALUES (?, ?, ?, ?, ?, ?)"));
    TRY_DO(statement
               .bind(row.id, row.filename, row.mime_type, row.size_bytes, row.created_at,
                     row.expires_at)
               .run());
    TRY(beside, db_.prepare("INSERT INTO file_contents(file, content) VALUES ((SELECT number FROM "
                            "files WHERE id = ?), CAST(? AS BLOB))"));
    return beside.bind(row.id, content).run();
  });
}

Result<FileRow> SqliteStore::file(std::string_view id, Micros now) {
  TRY(query, db_.prepare(str("SELECT ", kColumns, " WHERE id = ?")));
  TRY(found, query.bind(id).step());
  if (!found) return no_file(id);
  FileRow row = file_of(query).row;
  if (row.expires_at && row.expires_at <= now)
    return Error{Code::not_found, str("file ", id, " has expired"), "file_expired"};
  return row;
}

Result<std::string> SqliteStore::file_content(std::string_view id) {
  TRY(query, db_.prepare("SELECT c.content FROM file_contents c JOIN files f ON f.number = c.file "
                         "WHERE f.id = ?"));
  TRY(found, query.bind(id).step());
  if (!found) return no_file(id);
  return query.text(0);
}

Result<void> SqliteStore::remove_file(std::string_view id) {
  return atomically([&]() -> Result<void> {
    for (auto sql :
         {"DELETE FROM file_contents WHERE file = (SELECT number FROM files WHERE id = ?)",
          "DELETE FROM files WHERE id = ?"}) {
      TRY(statement, db_.prepare(sql));
      TRY_DO(statement.bind(id).run());
    }
    return ok;
  });
}

Result<std::vector<Listed<FileRow>>> SqliteStore::files(const ListQuery& query,
                                                        const std::vector<std::string>& ids,
                                                        Micros now) {
  ListQuery list = query;
  list.include_archived = true;  // files are not archived
  TRY(statement, db_.prepare(str("SELECT ", kColumns, " WHERE ", list_conditions("", list),
                                 " AND (expires_at = 0 OR expires_at > ?)",
                                 ids.empty() ? "" : " AND id IN (SELECT value FROM json_each(?))",
                                 list_order("", list))));
  bind_list(statement, list);
  statement.bind(now);
  if (!ids.empty()) statement.bind(json_list(ids));
  statement.bind(list.limit);
  return rows_of<FileRow>(statement, file_of);
}

Result<void> SqliteStore::sweep_files(Micros now, Micros forget) {
  return atomically([&]() -> Result<void> {
    TRY(contents, db_.prepare("DELETE FROM file_contents WHERE file IN (SELECT number FROM files "
                              "WHERE expires_at > 0 AND expires_at <= ?)"));
    TRY_DO(contents.bind(now).run());
    TRY(rows, db_.prepare("DELETE FROM files WHERE expires_at > 0 AND expires_at <= ?"));
    return rows.bind(forget).run();
  });
}

}  // namespace glovebox::brain
