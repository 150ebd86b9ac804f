#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/tree_copy.h"
#include "cli/wait.h"
#include "net/task.h"

namespace glovebox::cli {

static std::string target_of(const std::string& path) {
  return "/api/v1/files?path=" + http::encode_query(path);
}

static Task<std::string> next_piece(SourceFile* file) { co_return file->read(); }

static Task<void> upload(http::Client* http, std::string path, SourceFile* file) {
  // `length` is asked for first: reading counts it down.
  auto length = file->length();
  CO_TRY(answer, co_await http->upload(
                     "PUT", target_of(path), [file] { return next_piece(file); }, length));
  if (answer.status / 100 != 2) co_return api_error(answer.status, answer.body);
  co_return ok;
}

static Task<void> download(http::Client* http, std::string path, TargetFile* file) {
  CO_TRY(answer, co_await http->open("GET", target_of(path)));
  std::string refusal;
  for (;;) {
    CO_TRY(piece, co_await answer.body->read());
    if (piece.empty()) break;
    if (answer.status == 200) {
      CO_TRY_DO(file->write(piece));
    } else if (refusal.size() < 64 * 1024) {
      refusal += piece;
    }
  }
  if (answer.status != 200) co_return api_error(answer.status, refusal);
  co_return file->commit();
}

static bool is_directory(const CopyEnd& end) {
  struct stat there{};
  return !end.is_stream() && ::stat(end.path.c_str(), &there) == 0 && S_ISDIR(there.st_mode);
}

static Result<void> copy_in(EngineClient& engine, const CopyEnd& from, CopyEnd to) {
  if (is_directory(from)) return copy_tree_in(engine, from, to);
  TRY(file, SourceFile::open(from));
  if (to.path.ends_with('/')) {
    if (from.is_stream()) return usage_error("stdin has no name: name the file in the sandbox");
    to.path += base_name(from.path);
  }
  TRY(box, engine.box(to.box));
  auto done = wait(engine.loop(), upload(box.http.get(), to.path, &file));
  if (done || done.error().tag != "IS_DIRECTORY" || from.is_stream()) return done;
  TRY(again, SourceFile::open(from));
  return wait(engine.loop(),
              upload(box.http.get(), str(to.path, "/", base_name(from.path)), &again));
}

static Result<void> copy_out(EngineClient& engine, const CopyEnd& from, const CopyEnd& to,
                             Output& out) {
  TRY(box, engine.box(from.box));
  if (from.path.ends_with('/')) return copy_tree_out(engine, from, to, out);
  {
    TRY(file, TargetFile::create(to, base_name(from.path)));
    auto done = wait(engine.loop(), download(box.http.get(), from.path, &file));
    if (done || done.error().tag != "IS_DIRECTORY") return done;
  }  // what was begun for a file is gone again
  return copy_tree_out(engine, from, to, out);
}

static Result<int> run(Context& context, Args& args, Output& out) {
  TRY(source, args.positional("SOURCE"));
  TRY(destination, args.positional("DESTINATION"));
  TRY_DO(args.done());
  TRY(from, parse_copy_end(source));
  TRY(to, parse_copy_end(destination));
  if (from.box.empty() == to.box.empty())
    return usage_error(
        "one end is in a sandbox (NAME:/path), the other is here (between two: cp A:/x - | cp - "
        "B:/x)");
  TRY(engine, EngineClient::open(context));
  auto copied = to.box.empty() ? copy_out(*engine, from, to, out) : copy_in(*engine, from, to);
  if (!copied)
    return engine->explain(std::move(copied.error()))
        .with(str("copy ", source, " to ", destination));
  return 0;
}

const Command kSandboxCp{
    .name = "sandbox cp",
    .usage = "sandbox cp SOURCE DESTINATION",
    .help =
        "Copy a file or a directory into a sandbox or out of it.\n"
        "\n"
        "One end is NAME:/absolute/path, the other a local path, or - for "
        "stdin or stdout. Files of any size\n"
        "are streamed; a local file appears only once it is complete. A directory goes "
        "with all in it, into one\n"
        "that is there or as one that is not; for that the sandbox needs "
        "tar. What comes out of a sandbox\n"
        "never leaves the directory it was copied to.",
    .run = run};

}  // namespace glovebox::cli
