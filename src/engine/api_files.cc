// Files of a sandbox: processes of its hand, that run as the box's user in the box's group. Nothing
// here opens a path.
#include <cerrno>

#include "engine/api_trees.h"
#include "net/task.h"

namespace glovebox::engine {

using http::BodyWriter;
using http::Request;
using http::Response;

namespace {

constexpr std::size_t kMaxPath = 4095;
constexpr std::size_t kMaxList = 32 << 20;
constexpr std::size_t kMaxReason = 1024;

Result<std::string> path_param(const Request& request) {
  auto path = request.query_value("path");
  if (!path || path->empty()) return Error{Code::invalid, "path: is missing"};
  if (path->size() > kMaxPath)
    return Error{Code::invalid, str("path: is longer than ", kMaxPath, " bytes")};
  for (const std::string& part : split(*path, '/'))
    if (part == "..")
      return Error{Code::forbidden, "path: must not climb with ..", "PATH_TRAVERSAL"};
  if (path->front() != '/') return Error{Code::invalid, "path: must be absolute"};
  return std::move(*path);
}

wire::StartSpec file_operation(std::string verb, std::string path) {
  wire::StartSpec spec;
  spec.kind = wire::Kind::file;
  spec.argv = {std::move(verb), std::move(path)};
  return spec;
}

// What came of a file before it was known that there is one.
struct OpenFile {
  std::shared_ptr<Operation> operation;
  std::string first;
  bool complete = false;  // `first` is all of it
};

Task<OpenFile> open_file(std::shared_ptr<HandLink> hand, std::string path) {
  CO_TRY(operation,
         co_await Operation::start(std::move(hand), file_operation("read", std::move(path))));
  std::string reason;
  for (;;) {
    CO_TRY(event, co_await operation->next(net::kForever));
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      if (output->stream == wire::kStdout)
        co_return OpenFile{operation, std::move(output->bytes), false};
      if (reason.size() < kMaxReason) reason += output->bytes;
    } else if (auto* exited = std::get_if<ExitedEvent>(&event)) {
      if (!succeeded(exited->info)) co_return file_error(exited->info, reason);
      co_return OpenFile{operation, "", true};  // empty
    }
  }
}

Task<void> stream_file(std::shared_ptr<OpenFile> file, BodyWriter& out) {
  CO_TRY_DO(co_await out.write(std::move(file->first)));
  for (;;) {
    CO_TRY(event, co_await file->operation->next(net::kForever));
    if (auto* output = std::get_if<OutputEvent>(&event)) {
      if (output->stream == wire::kStdout) CO_TRY_DO(co_await out.write(std::move(output->bytes)));
    } else if (auto* exited = std::get_if<ExitedEvent>(&event)) {
      // Too late for a status: the connection is cut, so that nobody takes the part for the whole.
      if (!succeeded(exited->info)) co_return file_error(exited->info, "");
      co_return ok;
    } else {
      co_return Error{Code::internal, "a part of the file is missing"};
    }
  }
}

Task<std::string> file_call(ApiState& api, Request request, std::string verb) {
  CO_TRY(path, path_param(request));
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(operation,
         co_await Operation::start(box.hand, file_operation(std::move(verb), std::move(path))));
  CO_TRY(outcome, co_await operation->finish(kMaxList));
  if (!succeeded(outcome.info)) co_return file_error(outcome.info, outcome.err);
  co_return std::move(outcome.out);
}

}  // namespace

bool succeeded(const wire::ProcessInfo& info) {
  return info.status == wire::Status::exited && info.exit_code == 0;
}

Error file_error(const wire::ProcessInfo& info, std::string_view stderr_text) {
  if (info.status != wire::Status::exited)
    return {Code::internal, str("the file operation was ended by signal ", info.signal)};
  std::string what = valid_utf8(trim(stderr_text.substr(0, kMaxReason)));
  if (what.empty()) what = errno_name(info.exit_code);
  switch (info.exit_code) {
    case ENOENT: return {Code::not_found, what};
    case EISDIR: return {Code::invalid, what, "IS_DIRECTORY"};
    case ENOTDIR: return {Code::invalid, what, "NOT_A_DIRECTORY"};
    case EACCES:
    case EPERM:
    case EROFS: return {Code::forbidden, what};
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case ENXIO:
    case ENODEV:
    case EOPNOTSUPP: return {Code::invalid, what};
    case EFBIG: return {Code::too_large, what};
    case EEXIST:
    case ENOTEMPTY:
    case EBUSY:
    case ETXTBSY: return {Code::conflict, what};
    case ENOSPC:
    case EDQUOT: return {Code::exhausted, what, "DISK_FULL"};
    default: return {Code::internal, what};
  }
}

Reply read_file(ApiState& api, Request request) {
  CO_TRY(path, path_param(request));
  CO_TRY(box, co_await box_of(api, request));
  CO_TRY(opened, co_await open_file(box.hand, std::move(path)));
  Response response;
  response.headers.set("Content-Type", "application/octet-stream");
  if (opened.complete) co_return response;
  auto file = std::make_shared<OpenFile>(std::move(opened));
  response.stream = [file](BodyWriter& out) { return stream_file(file, out); };
  co_return response;
}

// The file is replaced when its stdin is closed and not before: an upload that breaks off leaves
// the old one.
Reply write_file(ApiState& api, Request request) {
  CO_TRY(path, path_param(request));
  CO_TRY(box, co_await box_of(api, request));
  wire::StartSpec spec = file_operation("write", std::move(path));
  spec.stdin_mode = wire::StdinMode::pipe;
  CO_TRY(operation, co_await Operation::start(box.hand, std::move(spec)));
  const std::uint64_t handle = operation->info().handle;
  bool wanted = true;
  while (wanted) {
    CO_TRY(piece, co_await request.body_stream
                      ->read());  // an error: the client broke off, and `operation` is killed
    if (piece.empty()) break;
    auto written = co_await box.hand->write_stdin(handle, std::move(piece));
    if (!written && (written.error().code == Code::cancelled || !box.hand->alive()))
      co_return std::move(written.error());
    wanted = written.has_value();  // it gave up; its end says why
  }
  if (wanted) (void)co_await box.hand->close_stdin(handle);
  CO_TRY(outcome, co_await operation->finish(0));
  if (!succeeded(outcome.info)) co_return file_error(outcome.info, outcome.err);
  if (!wanted) co_return Error{Code::internal, "the upload was not taken to its end"};
  co_return http::empty(204);
}

Reply delete_file(ApiState& api, Request request) {
  CO_TRY_DO(co_await file_call(api, std::move(request), "delete"));
  co_return http::empty(204);
}

Reply list_files(ApiState& api, Request request) {
  CO_TRY(list, co_await file_call(api, std::move(request), "list"));
  co_return http::json(200, valid_utf8(list));
}

}  // namespace glovebox::engine
