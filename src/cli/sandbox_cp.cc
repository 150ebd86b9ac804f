#include <sys/stat.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine_client.h"
#include "cli/local_file.h"
#include "cli/meter.h"
#include "cli/tree_copy.h"
#include "cli/wait.h"
#include "net/task.h"

namespace glovebox::cli {

static std::string target_of(const std::string& path) {
  return "/api/v1/files?path=" + http::encode_query(path);
}

static Task<std::string> next_piece(SourceFile* file, Meter* meter) {
  CO_TRY(piece, file->read());
  meter->add(piece.size());
  co_return piece;
}

static Task<void> upload(http::Client* http, std::string path, SourceFile* file, Meter* meter) {
  // `length` is asked for first: reading counts it down.
  auto length = file->length();
  meter->expect(length.value_or(0));
  auto next = [file, meter] { return next_piece(file, meter); };
  CO_TRY(answer, co_await http->upload("PUT", target_of(path), next, length));
  if (answer.status / 100 != 2) co_return api_error(answer.status, answer.body);
  co_return ok;
}

static Task<void> download(http::Client* http, std::string path, TargetFile* file, Meter* meter) {
  CO_TRY(answer, co_await http->open("GET", target_of(path)));
  std::string refusal;
  for (;;) {
    CO_TRY(piece, co_await answer.body->read());
    if (piece.empty()) break;
    if (answer.status == 200) {
      CO_TRY_DO(file->write(piece));
      if (meter) meter->add(piece.size());
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

static std::string what(const CopyEnd& from) {
  return str("copy ", from.is_stream() ? "stdin" : base_name(from.path));
}

static Result<void> copy_in(EngineClient& engine, const CopyEnd& from, CopyEnd to) {
  if (is_directory(from)) return copy_tree_in(engine, from, to);
  TRY(file, SourceFile::open(from));
  if (to.path.ends_with('/')) {
    if (from.is_stream()) return usage_error("stdin has no name: name the file in the sandbox");
    to.path += base_name(from.path);
  }
  TRY(box, engine.box(to.box));
  Meter meter(what(from), 0);
  auto done = wait(engine.loop(), upload(box.http.get(), to.path, &file, &meter));
  if (done || done.error().tag != "IS_DIRECTORY" || from.is_stream()) return done;
  TRY(again, SourceFile::open(from));
  meter.begin(what(from), 0);
  const std::string below = str(to.path, "/", base_name(from.path));
  return wait(engine.loop(), upload(box.http.get(), below, &again, &meter));
}

static Result<void> copy_out(EngineClient& engine, const CopyEnd& from, const CopyEnd& to,
                             Output& out) {
  TRY(box, engine.box(from.box));
  if (from.path.ends_with('/')) return copy_tree_out(engine, from, to, out);
  {
    TRY(file, TargetFile::create(to, base_name(from.path)));
    Meter meter(what(from), 0);
    const bool here = to.is_stream() && ::isatty(STDOUT_FILENO) == 1;  // its line is in use
    auto done =
        wait(engine.loop(), download(box.http.get(), from.path, &file, here ? nullptr : &meter));
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
        "One end is NAME:/absolute/path, the other a local path, or - for stdin or stdout. Files\n"
        "of any size are streamed; a local file appears only once it is complete. A directory\n"
        "goes with all in it, into one that is there or as one that is not; for that the sandbox\n"
        "needs tar. What comes out of a sandbox never leaves the directory it was copied to.",
    .run = run};

}  // namespace glovebox::cli
