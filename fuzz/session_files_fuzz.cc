// What a session's metadata asks for, and what a git server answers. The first byte picks which.
// Metadata: whatever is accepted goes to a clean absolute path, and names nothing of the host. Git:
// the pieces an answer comes in change nothing of what it means, and what is said of it in a box's
// files is an id and nothing else.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "orchestrator/git_wire.h"
#include "wire/session_sources.h"

using namespace glovebox;

static void must(bool holds) {
  if (!holds) std::abort();
}

static bool clean(std::string_view path) {
  for (const auto& part : split(path, '/'))
    if (part.empty() || part == "." || part == "..") return false;
  return std::ranges::none_of(path, [](unsigned char c) { return c <= ' ' || c == 127; });
}

static void metadata(std::string_view key, std::string_view value) {
  using Kind = wire::SessionSource::Kind;
  wire::SessionSources sources;
  if (!wire::add_sources(sources, key, value)) return;
  for (const auto& source : sources.all) {
    must(source.target.starts_with('/') && clean(std::string_view(source.target).substr(1)));
    must(source.below.empty() || clean(source.below));
    must(!source.ref.starts_with('-'));
    const bool url = source.kind == Kind::url || source.kind == Kind::git;
    must(url == source.what.starts_with("https://"));
    must(url || source.what.find('/') == source.what.npos);
  }
}

struct Heard {
  std::string pack;
  std::vector<std::string> shallow;
  bool sound = true;
};

static Heard hear(std::string_view bytes, std::size_t piece) {
  orchestrator::PackAnswer answer;
  Heard heard;
  for (std::size_t at = 0; at < bytes.size() && heard.sound; at += piece) {
    auto got = answer.feed(std::string(bytes.substr(at, piece)));
    heard.sound = got.has_value();
    if (got) heard.pack += *got;
  }
  heard.sound = heard.sound && answer.finish();
  heard.shallow = answer.shallow();
  return heard;
}

static bool is_id(std::string_view id) {
  return (id.size() == 40 || id.size() == 64) &&
         id.find_first_not_of("0123456789abcdef") == id.npos;
}

static Result<orchestrator::GitRefs> list(std::string_view bytes, std::size_t piece,
                                          const char* ref) {
  orchestrator::RefsAnswer answer(ref);
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    TRY_DO(answer.feed(bytes.substr(at, piece)));
  TRY_DO(answer.finish());
  return answer.refs();
}

static void git(std::string_view bytes) {
  for (const char* ref : {"", "main", "v1", "refs/heads/main"}) {
    auto refs = list(bytes, std::max<std::size_t>(bytes.size(), 1), ref);
    must(refs.has_value() == list(bytes, 3, ref).has_value());
    auto want = refs ? orchestrator::choose(*refs, ref)
                     : Result<orchestrator::GitWant>(std::move(refs.error()));
    if (!want) continue;
    must(is_id(want->id));
    for (int depth : {0, 1}) must(!orchestrator::pack_request(*refs, *want, depth).empty());
  }
  const Heard whole = hear(bytes, std::max<std::size_t>(bytes.size(), 1)), pieces = hear(bytes, 3);
  must(whole.sound == pieces.sound);
  if (whole.sound) must(whole.pack == pieces.pack && whole.shallow == pieces.shallow);
  must(std::ranges::all_of(pieces.shallow, is_id));
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  const char which = bytes.front();
  bytes.remove_prefix(1);
  switch (which) {
    case 'f': metadata("glovebox.files", bytes); break;
    case 'g': metadata("glovebox.git", bytes); break;
    default: git(bytes);
  }
  return 0;
}
