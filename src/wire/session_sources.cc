#include "wire/session_sources.h"

#include <algorithm>

#include "wire/decode.h"

namespace glovebox::wire {

namespace {

constexpr std::string_view kFiles = "glovebox.files", kGit = "glovebox.git",
                           kDepth = "glovebox.git_depth";
constexpr std::string_view kHttps = "https://",
                           kVolume = "volume:", kDirectory = "dir:", kFile = "file_";
constexpr std::string_view kWork = "/workspace/", kUploads = "/mnt/session/uploads/";
constexpr std::size_t kMaxSources = 64, kMaxPath = 1024;
constexpr int kMaxDepth = 1'000'000;

bool is_key(std::string_view key, std::string_view family) {
  return key == family || (key.starts_with(family) && key.substr(family.size()).starts_with('.'));
}

bool is_source(std::string_view text) {
  return std::ranges::any_of(std::initializer_list{kHttps, kVolume, kDirectory, kFile},
                             [&](auto start) { return text.starts_with(start); });
}

std::string_view last_part(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);
}

// Parts that are names: nothing leads up or nowhere.
bool is_clean(std::string_view path) {
  return std::ranges::all_of(split(path, '/'), [](const std::string& part) {
    return !part.empty() && part != "." && part != "..";
  });
}

Result<std::string> target_of(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  std::string target = path.starts_with('/') ? std::string(path) : str(kWork, path);
  const bool plain =
      std::ranges::none_of(target, [](unsigned char c) { return c <= ' ' || c == 127; });
  if (!plain || target.size() > kMaxPath || !is_clean(std::string_view(target).substr(1)) ||
      valid_utf8(target) != target)
    return Error{Code::invalid, "the path must be a plain one, without '..'"};
  return target;
}

Result<void> check_url(std::string_view url) {
  std::string_view rest = url.substr(kHttps.size());
  std::string_view authority = rest.substr(0, rest.find_first_of("/?#"));
  if (std::ranges::any_of(url, [](unsigned char c) { return c <= ' ' || c >= 127; }))
    return Error{Code::invalid, "a URL has no such characters"};
  if (authority.empty()) return Error{Code::invalid, "the URL names no host"};
  // Whatever stood there would be in the session's metadata, for all who may read that.
  if (authority.contains('@')) return Error{Code::invalid, "the URL must not hold a credential"};
  return ok;
}

bool is_ref(std::string_view ref) {
  return !ref.empty() && ref.size() <= 255 && !ref.starts_with('-') && is_clean(ref) &&
         !ref.contains("..") && !ref.ends_with(".lock") &&
         std::ranges::all_of(ref, [](unsigned char c) {
           return std::isalnum(c) || std::string_view("._/+-@").contains(static_cast<char>(c));
         });
}

// Where it goes when the entry does not say.
std::string usual_target(const SessionSource& source) {
  std::string_view name = source.what;
  switch (source.kind) {
    case SessionSource::Kind::file: return str(kUploads, source.what);
    case SessionSource::Kind::url:
      name.remove_prefix(kHttps.size());
      name = name.substr(0, name.find('?'));
      if (!name.contains('/')) return "";
      break;
    case SessionSource::Kind::git:
      name.remove_prefix(kHttps.size());
      if (!name.contains('/')) return "";
      name = last_part(name);
      if (name.ends_with(".git")) name.remove_suffix(4);
      break;
    case SessionSource::Kind::volume:
    case SessionSource::Kind::directory:
      if (!source.below.empty()) name = source.below;
      break;
  }
  return std::string(
      source.kind == SessionSource::Kind::url && name.ends_with('/') ? "" : last_part(name));
}

Result<void> read_named(SessionSource& source, std::string_view text) {
  source.what = text.substr(0, text.find('/'));
  if (text.contains('/')) source.below = text.substr(text.find('/') + 1);
  while (source.below.ends_with('/')) source.below.pop_back();
  if (source.what.empty()) return Error{Code::invalid, "it has no name"};
  if (!source.below.empty() && !is_clean(source.below))
    return Error{Code::invalid, "the path in it must be a plain one, without '..'"};
  return ok;
}

Result<SessionSource> read_source(std::string_view text, bool git) {
  SessionSource source;
  if (text.starts_with(kHttps)) {
    TRY_DO(check_url(text));
    source.kind = git ? SessionSource::Kind::git : SessionSource::Kind::url;
    source.what = text.substr(0, text.find('#'));
    if (!git && text.contains('#')) return Error{Code::invalid, "the URL must not have a fragment"};
    if (git && source.what.contains('?'))
      return Error{Code::invalid, "a repository's URL has no query"};
    if (text.contains('#')) {
      source.ref = text.substr(text.find('#') + 1);
      if (!is_ref(source.ref)) return Error{Code::invalid, "what follows '#' is no name of a ref"};
    }
    while (git && source.what.ends_with('/')) source.what.pop_back();
    return source;
  }
  if (git)
    return Error{Code::invalid, "a repository is named by an https:// URL, and by nothing else"};
  if (text.starts_with(kVolume) || text.starts_with(kDirectory)) {
    source.kind =
        text.starts_with(kVolume) ? SessionSource::Kind::volume : SessionSource::Kind::directory;
    TRY_DO(read_named(source, text.substr(text.find(':') + 1)));
    return source;
  }
  if (!text.starts_with(kFile) || !std::ranges::all_of(text, [](unsigned char c) {
        return std::isalnum(c) || c == '_' || c == '-';
      }))
    return Error{
        Code::invalid,
        "it is none of file_ID, https://…, volume:NAME and dir:NAME; a path of the host is "
        "never one"};
  source.what = text;
  return source;
}

Result<SessionSource> read_entry(std::string_view text, bool git) {
  std::string_view path;
  const auto equals = text.find('=');
  if (!is_source(text) && equals != text.npos) {
    path = text.substr(0, equals);
    if (path.empty()) return Error{Code::invalid, "there is no path before '='"};
    text.remove_prefix(equals + 1);
  }
  TRY(source, read_source(text, git));
  source.unpack = path.ends_with('/') && (source.kind == SessionSource::Kind::file ||
                                          source.kind == SessionSource::Kind::url);
  const std::string usual = path.empty() ? usual_target(source) : std::string(path);
  if (usual.empty()) return Error{Code::invalid, "say where it is to go: PATH=SOURCE"};
  TRY(target, target_of(usual));
  source.target = std::move(target);
  return source;
}

std::vector<std::string_view> words(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<std::string_view> found;
  for (;;) {
    const auto start = text.find_first_not_of(kSpace);
    if (start == text.npos) return found;
    text.remove_prefix(start);
    const auto size = std::min(text.find_first_of(kSpace), text.size());
    found.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
}

}  // namespace

bool names_sources(std::string_view key) {
  return key == kDepth || is_key(key, kFiles) || is_key(key, kGit);
}

Result<void> add_sources(SessionSources& into, std::string_view key, std::string_view value) {
  if (key == kDepth) {
    auto depth = parse_int<int>(trim(value));
    if (!depth || *depth < 0 || *depth > kMaxDepth)
      return Error{Code::invalid, str(key, ": must be a number of commits, or 0 for all")};
    into.git_depth = *depth;
    return ok;
  }
  const bool git = is_key(key, kGit);
  if (!git && !is_key(key, kFiles)) return ok;
  for (std::string_view word : words(value)) {
    const std::string text = valid_utf8(word);
    if (text != word ||
        std::ranges::any_of(word, [](unsigned char c) { return c < ' ' || c == 127; }))
      return Error{Code::invalid, str(key, ": must be plain text")};
    TRY(source, read_entry(word, git), key, ": '", text, "'");
    if (std::ranges::find(into.all, source.target, &SessionSource::target) != into.all.end())
      return Error{Code::invalid, str(key, ": two are to go to ", source.target)};
    if (into.all.size() >= kMaxSources)
      return Error{Code::invalid, str(key, ": at most ", kMaxSources, " of all kinds")};
    source.text = text;
    into.all.push_back(std::move(source));
  }
  return ok;
}

bool names_file(std::string_view metadata_json, std::string_view file) {
  auto metadata = parse_json(metadata_json);
  if (!metadata || !metadata->is_object()) return false;
  SessionSources sources;
  for (const auto& [key, value] : metadata->get_object())
    if (value.is_string() && is_key(key, kFiles))
      (void)add_sources(sources, key, std::string_view(value.get_string()));
  return std::ranges::any_of(sources.all, [&](const SessionSource& source) {
    return source.kind == SessionSource::Kind::file && source.what == file;
  });
}

}  // namespace glovebox::wire
