// What the store keeps of files: a row for each, its content beside it.
#pragma once

#include "brain/records.h"

namespace glovebox::brain {

struct FileRow {
  std::string id;
  std::string filename, mime_type;
  std::int64_t size_bytes = 0;
  Micros created_at = 0;
  Micros expires_at = 0;  // 0: never
};

class FileRecords {
 public:
  virtual ~FileRecords() = default;

  // Code::invalid "storage_quota_exceeded" where all files together would exceed `quota`.
  virtual Result<void> add_file(const FileRow& row, std::string_view content,
                                std::int64_t quota) = 0;
  // Code::not_found; "file_expired" for a while after its time.
  virtual Result<FileRow> file(std::string_view id, Micros now) = 0;
  virtual Result<std::string> file_content(std::string_view id) = 0;
  virtual Result<void> remove_file(std::string_view id) = 0;
  // Those that are not expired; of `ids`, where there are some.
  virtual Result<std::vector<Listed<FileRow>>> files(const ListQuery& query,
                                                     const std::vector<std::string>& ids,
                                                     Micros now) = 0;
  // The contents of those expired by now, and the rows of those expired before `forget`.
  virtual Result<void> sweep_files(Micros now, Micros forget) = 0;
};

}  // namespace glovebox::brain
