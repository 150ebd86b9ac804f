#include "orchestrator/session_files.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/task.h"
#include "orchestrator/git_wire.h"
#include "orchestrator/host_tree.h"
#include "orchestrator/session_scripts.h"
#include "orchestrator/slug.h"
#include "runner/retry.h"
#include "runner/within.h"

namespace glovebox::orchestrator {

using wire::SessionSource;
using Kind = wire::SessionSource::Kind;

namespace {

metrics::Counter placed_total("orchestrator_session_files_total",
                              "Files and repositories placed in boxes.");
metrics::Counter failed_total("orchestrator_session_files_failed_total",
                              "Sessions whose files could not be placed.");

constexpr std::size_t kPiece = 256 * 1024;
constexpr int kAttempts = 3, kThreads = 1;
constexpr std::string_view kParts = "/var/tmp/.glovebox-parts/", kMark = "/var/tmp/.glovebox-files";
constexpr std::chrono::seconds kScriptLimit{300};

struct Placing {
  net::Loop& loop;
  std::shared_ptr<Boxes> boxes;
  const FilePolicy policy;
  const FileService service;
  const std::string session;
  const wire::SessionSources sources;
  const std::vector<std::string> kept;
  Web web;
  std::unique_ptr<net::Pool> pool = {};  // for files of this host
};
using State = std::shared_ptr<Placing>;

// One box that is being filled.
struct Filling {
  State state;
  std::string box;
  std::uint64_t left = 0;  // bytes that may still come
};
using Fill = std::shared_ptr<Filling>;

Error lasting(std::string what) { return {Code::invalid, std::move(what), kSessionFiles}; }

Error too_large(const Filling& fill) {
  return lasting(str("it is larger than all that may be fetched (", fill.state->policy.bytes >> 20,
                     " MB; orchestrator.session_files_mb)"));
}

// ---- carrying bytes

using Source = std::function<Task<std::string>()>;

Task<std::string> counted(Fill fill, Source source) {
  CO_TRY(piece, co_await source());
  if (piece.size() > fill->left) co_return too_large(*fill);
  fill->left -= piece.size();
  co_return piece;
}

Task<void> carry(Fill fill, std::string path, Source source) {
  auto counting = [fill, source = std::move(source)] { return counted(fill, source); };
  auto sent = co_await fill->state->boxes->api().upload(fill->box, path, std::move(counting));
  if (!sent && sent.error().code == Code::exhausted)
    co_return lasting(str("the sandbox has no room for it: ", sent.error().what));
  co_return sent;
}

struct Text {
  std::string all;
  std::size_t at = 0;
};
Task<std::string> next_of_text(std::shared_ptr<Text> text) {
  std::string piece = text->all.substr(text->at, kPiece);
  text->at += piece.size();
  co_return piece;
}
Source source_of(std::string text) {
  auto shared = std::make_shared<Text>(std::move(text));
  return [shared] { return next_of_text(shared); };
}

// Of the web's, or of the service's.
template <class Answer>
Task<std::string> next_of_web(std::shared_ptr<Answer> answer) {
  auto piece = co_await answer->body->read();
  if (!piece && piece.error().code != Code::cancelled)
    co_return Error{Code::unavailable, piece.error().what, kFromTheWeb};
  co_return piece;
}

Task<std::string> next_of_file(State state, std::shared_ptr<const Fd> file) {
  auto piece = std::make_shared<std::string>(kPiece, '\0');
  auto work = [file, piece]() -> Result<void> {
    ssize_t n = ::read(file->get(), piece->data(), piece->size());
    if (n < 0) return sys_error("read");
    piece->resize(static_cast<std::size_t>(n));
    return ok;
  };
  CO_TRY_DO(co_await state->pool->run(std::move(work)));
  co_return std::move(*piece);
}

// ---- programs in the box

Task<std::string> script(Fill fill, std::string_view text, std::vector<std::string> args) {
  NewProcess process{.command = "/bin/sh", .args = {"-c", std::string(text), "sh"}};
  process.args.insert(process.args.end(), args.begin(), args.end());
  CO_TRY(ran, co_await fill->state->boxes->api().run(fill->box, std::move(process), kScriptLimit));
  if (!ran.done)
    co_return lasting(
        str(ran.said.empty() ? "" : ran.said + " ", "(", ran.how, " in the sandbox)"));
  co_return std::move(ran.said);
}

// ---- each kind

Task<void> fetch_file(Fill fill, const SessionSource& source, std::string into) {
  const FileService& from = fill->state->service;
  const std::string name = http::encode_path(source.what);
  const std::string target =
      from.ours ? str("/glovebox/v1/sessions/", http::encode_path(fill->state->session), "/files/",
                      name, "/content")
                : str("/v1/files/", name, "/content");
  auto opened = co_await from.service->open_download(target, from.bearer);
  if (!opened) {
    Error error = std::move(opened.error());
    if (error.code != Code::cancelled) error.tag = kFromTheWeb;
    co_return error;
  }
  auto answer = std::make_shared<http::StreamResponse>(std::move(*opened));
  co_return co_await carry(fill, std::move(into), [answer] { return next_of_web(answer); });
}

Task<void> fetch_url(Fill fill, const SessionSource& source, std::string into) {
  CO_TRY(answer, co_await fill->state->web.get(source.what));
  auto shared = std::make_shared<WebAnswer>(std::move(answer));
  co_return co_await carry(fill, std::move(into), [shared] { return next_of_web(shared); });
}

Task<void> fetch_directory(Fill fill, const SessionSource& source, std::string part) {
  State state = fill->state;
  CO_TRY(directory, directory_named(state->policy.directories, source.what));
  auto tree = std::make_shared<HostTree>();
  auto look = [tree, directory, below = source.below]() -> Result<void> {
    TRY(found, HostTree::open(directory, below));
    *tree = std::move(found);
    return ok;
  };
  if (!state->pool) state->pool = std::make_unique<net::Pool>(kThreads);
  auto looked = co_await state->pool->run(std::move(look));
  if (!looked && looked.error().code == Code::cancelled) co_return looked;
  if (!looked) co_return lasting(std::move(looked.error().what));
  std::string executables;
  for (const HostFile& file : tree->files()) {
    auto opened = tree->file(file.path);
    if (!opened) co_return lasting(std::move(opened.error().what));
    auto fd = std::make_shared<const Fd>(std::move(*opened));
    std::string into = part + "/tree";
    if (!tree->is_file()) into += "/" + file.path;
    CO_TRY_DO(co_await carry(fill, into, [state, fd] { return next_of_file(state, fd); }));
    if (file.executable) executables += into + '\0';
  }
  CO_TRY_DO(co_await carry(fill, part + "/executables", source_of(std::move(executables))));
  CO_TRY_DO(co_await script(fill, tree->is_file() ? kModes : kDirectoryModes, {part}));
  co_return ok;
}

Task<void> fetch_volume(Fill fill, const SessionSource& source, std::string part) {
  std::string from = source_mount(source.what);
  if (!source.below.empty()) from += "/" + source.below;
  CO_TRY_DO(co_await script(fill, kCopy, {part, from}));
  co_return ok;
}

struct Pack {
  std::shared_ptr<WebAnswer> answer;
  PackAnswer reader;
};
Task<std::string> next_of_pack(std::shared_ptr<Pack> pack) {
  for (;;) {
    CO_TRY(piece, co_await next_of_web(pack->answer));
    auto bytes = piece.empty() ? Result<std::string>(std::string()) : pack->reader.feed(piece);
    if (!bytes) co_return lasting(std::move(bytes.error().what));
    if (!bytes->empty()) co_return bytes;
    if (!piece.empty()) continue;
    if (auto whole = pack->reader.finish(); !whole) co_return lasting(whole.error().what);
    co_return std::string();
  }
}

Task<GitRefs> read_refs(Fill fill, std::shared_ptr<WebAnswer> answer, std::string ref) {
  RefsAnswer reader(std::move(ref));
  for (;;) {
    CO_TRY(piece, co_await counted(fill, [answer] { return next_of_web(answer); }));
    auto read = piece.empty() ? reader.finish() : reader.feed(piece);
    if (!read) co_return lasting(std::move(read.error().what));
    if (piece.empty()) co_return reader.refs();
  }
}

Task<void> fetch_git(Fill fill, const SessionSource& source, std::string part) {
  Web& web = fill->state->web;
  constexpr std::string_view kRefsPath = "/info/refs?service=git-upload-pack";
  CO_TRY(listed, co_await web.get(str(source.what, kRefsPath)));
  // It may have moved: what follows is asked where the list came from.
  std::string base = listed.url;
  if (!base.ends_with(kRefsPath)) co_return lasting("the server leads somewhere that is no git");
  base.resize(base.size() - kRefsPath.size());
  CO_TRY(refs,
         co_await read_refs(fill, std::make_shared<WebAnswer>(std::move(listed)), source.ref));
  auto want = choose(refs, source.ref);
  if (!want) co_return lasting(std::move(want.error().what));
  auto pack = std::make_shared<Pack>();
  CO_TRY(answer,
         co_await web.post(base + "/git-upload-pack", "application/x-git-upload-pack-request",
                           pack_request(refs, *want, fill->state->sources.git_depth)));
  pack->answer = std::make_shared<WebAnswer>(std::move(answer));
  CO_TRY_DO(co_await carry(fill, part + "/pack", [pack] { return next_of_pack(pack); }));
  std::string shallow;
  for (const std::string& id : pack->reader.shallow()) shallow += id + '\n';
  CO_TRY_DO(co_await carry(fill, part + "/shallow", source_of(std::move(shallow))));
  CO_TRY_DO(
      co_await script(fill, kCheckout, {part, source.what, want->id, want->name, refs.format}));
  co_return ok;
}

Task<void> fetch(Fill fill, const SessionSource& source, std::string part) {
  const std::string into = part + (source.unpack ? "/archive" : "/tree");
  switch (source.kind) {
    case Kind::file: return fetch_file(fill, source, into);
    case Kind::url: return fetch_url(fill, source, into);
    case Kind::directory: return fetch_directory(fill, source, part);
    case Kind::volume: return fetch_volume(fill, source, part);
    case Kind::git: return fetch_git(fill, source, part);
  }
  return fetch_url(fill, source, into);
}

// That it was placed is noted where it is: what a volume keeps is not placed in the next box again.
std::string mark_of(const Placing& placing, const SessionSource& source) {
  std::string_view where = "/var/tmp";
  for (const std::string& path : placing.kept)
    if (source.target == path || source.target.starts_with(path + "/")) where = path;
  return str(where, "/.glovebox-placed/",
             slug(source.kind == Kind::git ? "git-" : "file-", source.text));
}

Task<void> place_once(Fill fill, const SessionSource& source, std::string part) {
  CO_TRY_DO(co_await script(fill, kBegin, {part}));
  CO_TRY_DO(co_await fetch(fill, source, part));
  if (source.unpack) CO_TRY_DO(co_await script(fill, kUnpack, {part}));
  CO_TRY_DO(co_await script(
      fill, kFinish, {part, source.target, mark_of(*fill->state, source), fill->state->session}));
  co_return ok;
}

// What an engine that restarts, a server that is away or a line that breaks makes of one attempt.
bool worth_another(const Error& error) {
  if (error.tag == kFromTheWeb)
    return error.code == Code::unavailable || error.code == Code::timeout;
  return may_pass(error);
}

Task<void> place_one(Fill fill, const SessionSource& source, std::string part) {
  const std::uint64_t before = fill->left;
  for (int attempt = 1;; ++attempt) {
    auto placed = co_await place_once(fill, source, part);
    if (placed) {
      placed_total.add();
      CO_FAULT("orchestrator.file_placed");
      co_return ok;
    }
    Error& error = placed.error();
    if (error.code == Code::cancelled) co_return placed;
    if (!worth_another(error) || attempt == kAttempts) {
      const bool ours_to_tell = error.tag == kFromTheWeb || error.tag == kSessionFiles;
      if (ours_to_tell) co_return lasting(str(source.text, ": ", error.what));
      co_return std::move(error).with(source.text);
    }
    log::info("session.files_again", {{"session", fill->state->session}, {"error", error.what}});
    fill->left = before;
    CO_TRY_DO(co_await net::sleep(runner::jittered(fill->state->policy.retry * attempt)));
  }
}

std::string part_of(std::size_t number) { return str(kParts, number); }

struct Found {
  bool placed = false;      // all of them, at an earlier time
  std::vector<bool> there;  // before an end in the middle, or by an earlier box in a volume
};
Task<Found> look(Fill fill) {
  const auto& sources = fill->state->sources.all;
  std::vector<std::string> args{fill->state->session, std::string(kMark)};
  for (const SessionSource& source : sources) args.push_back(mark_of(*fill->state, source));
  CO_TRY(said, co_await script(fill, kThere, std::move(args)));
  Found found{.there = std::vector<bool>(sources.size(), false)};
  for (const std::string& line : split(said, '\n')) {
    if (line == "placed") found.placed = true;
    if (auto number = parse_int<std::size_t>(line); number && *number < found.there.size())
      found.there[*number] = true;
  }
  co_return found;
}

Task<void> place_all(Fill fill) {
  CO_TRY(found, co_await look(fill));
  if (found.placed) co_return ok;
  for (std::size_t i = 0; i < found.there.size(); ++i)
    if (!found.there[i])
      CO_TRY_DO(co_await place_one(fill, fill->state->sources.all[i], part_of(i)));
  CO_TRY_DO(co_await carry(fill, std::string(kMark), source_of(fill->state->session)));
  log::info("session.files", {{"session", fill->state->session},
                              {"box", fill->box},
                              {"bytes", fill->state->policy.bytes - fill->left}});
  co_return ok;
}

Task<void> place_files(State state, std::string box) {
  auto fill = std::make_shared<Filling>(Filling{state, box, state->policy.bytes});
  auto placed = co_await runner::within(place_all(fill), state->policy.time);
  if (!placed && placed.error().code == Code::timeout)
    placed = lasting(str("not all could be fetched within ", state->policy.time.count() / 1000,
                         " s (orchestrator.session_files_secs)"));
  if (!placed && placed.error().code != Code::cancelled) failed_total.add();
  co_return placed;
}

}  // namespace

Preparation placing(net::Loop& loop, std::shared_ptr<Boxes> boxes, const FilePolicy& policy,
                    FileService service, std::string session, wire::SessionSources sources,
                    std::vector<std::string> kept) {
  if (sources.all.empty()) return nullptr;
  State state(new Placing{.loop = loop,
                          .boxes = std::move(boxes),
                          .policy = policy,
                          .service = std::move(service),
                          .session = std::move(session),
                          .sources = std::move(sources),
                          .kept = std::move(kept),
                          .web = Web(loop, policy.web)});
  return [state](std::string box) { return place_files(state, std::move(box)); };
}

Result<std::string> directory_named(const std::vector<std::string>& directories,
                                    const std::string& name) {
  for (const std::string& one : directories)
    if (auto equals = one.find('='); one.substr(0, equals) == name && equals != one.npos)
      return one.substr(equals + 1);
  return Error{Code::forbidden, str("dir:", valid_utf8(name),
                                    " is not offered here: it is not in the operator's setting "
                                    "orchestrator.session_directories")};
}

std::string source_mount(const std::string& volume) { return str("/mnt/session/volumes/", volume); }

}  // namespace glovebox::orchestrator
