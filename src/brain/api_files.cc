// Files that an application leaves here: what was uploaded is given back as it was.
#include <algorithm>

#include "base/log.h"
#include "brain/api.h"
#include "brain/api_body.h"
#include "brain/ids.h"
#include "brain/multipart.h"
#include "net/task.h"

namespace glovebox::brain {
namespace {

constexpr std::int64_t kQuota = 2'000'000'000;  // of all files: they are in the brain's database
constexpr std::int64_t kShortest = 3'600, kLongest = 7'776'000;  // seconds until they expire
constexpr std::size_t kMaxIds = 100, kMaxName = 255, kMaxType = 255, kMaxField = 64;
constexpr std::size_t kPiece = 64 * 1024;

std::string file_json(const FileRow& row) {
  return str(R"({"id":")", row.id, R"(","type":"file","filename":)", text_json(row.filename),
             R"(,"mime_type":)", text_json(row.mime_type), R"(,"size_bytes":)", row.size_bytes,
             R"(,"created_at":)", time_json(row.created_at), R"(,"downloadable":true)",
             R"(,"expires_at":)", time_json(row.expires_at), '}');
}

bool plain(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }) &&
         valid_utf8(text) == text;
}

class FileForm final : public FormSink {
 public:
  Result<void> begin(const FormPart& part) override {
    into_ = nullptr;
    if (part.name == "expires_in_seconds") into_ = &expires_in.emplace();
    if (part.name != "file") return ok;
    if (filename) return Error{Code::invalid, "file: is there twice"};
    filename = part.filename.value_or("");
    if (filename->empty() || characters(*filename) > kMaxName || !plain(*filename) ||
        filename->find_first_of("/\\") != filename->npos)
      return Error{Code::invalid, str("file: needs a filename of at most ", kMaxName,
                                      " characters, without folders")};
    mime_type = part.type.empty() ? "application/octet-stream" : part.type;
    if (mime_type.size() > kMaxType || !plain(mime_type))
      return Error{Code::invalid, "file: its Content-Type is none"};
    into_ = &content;
    return ok;
  }
  Result<void> data(std::string_view bytes) override {
    if (!into_) return ok;  // a part that is not known here
    if (into_ != &content && into_->size() + bytes.size() > kMaxField)
      return Error{Code::invalid, "expires_in_seconds: must be a number"};
    into_->append(bytes);
    return ok;
  }
  Result<void> end() override { return ok; }

  std::optional<std::string> filename, expires_in;
  std::string mime_type, content;

 private:
  std::string* into_ = nullptr;
};

Result<Micros> expiry(const FileForm& form, Micros now) {
  if (!form.expires_in || trim(*form.expires_in).empty()) return 0;
  auto seconds = parse_int<std::int64_t>(trim(*form.expires_in));
  if (!seconds || *seconds < kShortest || *seconds > kLongest)
    return Error{Code::invalid,
                 str("expires_in_seconds: must be from ", kShortest, " to ", kLongest)};
  return now + *seconds * 1'000'000;
}

Result<FileForm> form_of(const http::Request& request) {
  TRY(boundary, form_boundary(request.headers.get("Content-Type").value_or("")));
  FileForm form;
  FormParser parser(boundary, {}, form);
  for (std::string_view rest = request.body; !rest.empty();
       rest.remove_prefix(std::min(kPiece, rest.size())))
    TRY_DO(parser.feed(rest.substr(0, kPiece)));
  TRY_DO(parser.finish());
  if (!form.filename) return Error{Code::invalid, "file: is required"};
  return form;
}

}  // namespace

Reply create_file(Call call) {
  CO_TRY(form, form_of(call.request));
  const Micros now = now_us();
  CO_TRY(expires_at, expiry(form, now));
  const FileRow row{.id = new_id("file"),
                    .filename = *form.filename,
                    .mime_type = form.mime_type,
                    .size_bytes = static_cast<std::int64_t>(form.content.size()),
                    .created_at = now,
                    .expires_at = expires_at};
  CO_TRY_DO(call.api.files.add_file(row, form.content, kQuota));
  log::info("file.created", {{"file", row.id}, {"bytes", row.size_bytes}});
  co_return http::json(200, file_json(row));
}

Reply list_files(Call call) {
  const std::vector<std::string> ids = call.query.list("ids");
  if (ids.size() > kMaxIds) co_return Error{Code::invalid, str("ids: at most ", kMaxIds)};
  const std::string scope = call.query.text("scope_id").value_or("");
  std::string filters = str("files ", scope);
  for (const std::string& id : ids) filters += ' ' + id;
  CO_TRY(page, page_of(call.query, filters));
  std::vector<Listed<FileRow>> rows;
  if (scope.empty()) {  // sessions of self-hosted environments leave no files here
    CO_TRY(found, call.api.files.files({.from = page.cursor.number, .limit = page.limit + 1}, ids,
                                       now_us()));
    rows = std::move(found);
  }
  co_return page_json(std::move(rows), page, filters, file_json);
}

Reply get_file(Call call) {
  CO_TRY(row, call.api.files.file(call.param("file"), now_us()));
  co_return http::json(200, file_json(row));
}

Reply get_file_content(Call call) {
  CO_TRY(row, call.api.files.file(call.param("file"), now_us()));
  CO_TRY(content, call.api.files.file_content(row.id));
  http::Response response;
  response.headers.set("Content-Type", row.mime_type);
  // A browser must not take it for a page of ours.
  response.headers.set("Content-Disposition", "attachment");
  response.headers.set("X-Content-Type-Options", "nosniff");
  response.body = std::move(content);
  co_return response;
}

Reply delete_file(Call call) {
  CO_TRY(row, call.api.files.file(call.param("file"), now_us()));
  CO_TRY_DO(call.api.files.remove_file(row.id));
  log::info("file.deleted", {{"file", row.id}});
  co_return http::json(200, str(R"({"id":")", row.id, R"(","type":"file_deleted"})"));
}

}  // namespace glovebox::brain
