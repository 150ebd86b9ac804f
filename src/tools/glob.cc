#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "tools/file_tools.h"
#include "tools/fs.h"
#include "tools/glob_pattern.h"
#include "tools/place.h"

namespace glovebox::tools {
namespace {

constexpr std::size_t kMaxResults = 200;
constexpr std::size_t kMaxMatches = 50'000;  // files found before the walk stops
constexpr std::size_t kMaxSeen = 1'000'000;  // entries looked at before it does

double milliseconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

bool skipped(std::string_view name) { return name == ".git" || name == "node_modules"; }

// How far a pattern has come in some folder: the next name must match element `next` of alternative
// `path`.
struct State {
  std::size_t path, next;
  auto operator<=>(const State&) const = default;
};
using States = std::set<State>;

// All alternatives walk the tree together: each folder is read once and no file is found twice.
class Walk {
 public:
  Walk(std::vector<GlobPath> paths, SearchRoot root)
      : paths_(std::move(paths)), root_(std::move(root)) {}

  std::string run();

 private:
  struct Dir {
    std::string path, shown;  // canonical; as the results spell it
    States states;
  };
  struct Found {
    std::string shown;
    double modified;     // milliseconds, as the official tool compares them
    std::size_t at = 0;  // which of all that were found
  };
  struct Step {
    States states;        // to go on with, if the entry is a folder
    States through_link;  // and if it is a link to one: only where the pattern names it
    std::optional<std::size_t> matched;  // if it is a file: by which alternative first
  };

  void visit(const Dir& dir);
  Step step(const States& states, std::string_view name) const;
  void enter(State state, States& into) const;
  bool full() const { return found_.size() >= kMaxMatches || seen_ > kMaxSeen; }
  std::string newest_first();

  std::vector<GlobPath> paths_;
  SearchRoot root_;
  std::vector<Dir> todo_;
  std::vector<Found> found_;
  std::size_t seen_ = 0;
};

// `**` also stands for no folder at all, so whoever arrives at one has arrived behind it too.
void Walk::enter(State state, States& into) const {
  if (state.next == paths_[state.path].size()) return;
  into.insert(state);
  if (paths_[state.path][state.next].any_depth()) enter({state.path, state.next + 1}, into);
}

Walk::Step Walk::step(const States& states, std::string_view name) const {
  Step result;
  for (State state : states) {
    const GlobName& element = paths_[state.path][state.next];
    if (element.any_depth() ? name.starts_with('.') : !element.matches(name)) continue;
    State after{state.path, state.next + 1};
    if (after.next == paths_[state.path].size() && !result.matched) result.matched = state.path;
    enter(element.any_depth() ? state : after, result.states);
    if (element.literal()) enter(after, result.through_link);
  }
  return result;
}

// Files of the same time are listed as they are found. The official tool takes one alternative
// after the other in each folder, in the order of names, and goes on with the folder it came upon
// last.
void Walk::visit(const Dir& dir) {
  auto opened = open_dir(dir.path);
  auto entries = opened ? list_dir(opened->get()) : std::unexpected(opened.error());
  if (!entries) return;                             // what cannot be read holds no matches
  std::map<std::size_t, std::vector<Found>> files;  // by alternative
  std::map<std::size_t, std::vector<Dir>> dirs;
  std::size_t matches = found_.size();
  for (const Entry& entry : *entries) {
    if (matches >= kMaxMatches || ++seen_ > kMaxSeen) break;
    if (skipped(entry.name)) continue;
    Step next = step(dir.states, entry.name);
    auto below = [&](const std::string& path) {
      return path == "/" ? path + entry.name : str(path, '/', entry.name);
    };
    auto go_on = [&](const std::string& path, States states) {
      std::size_t alternative = states.begin()->path;
      dirs[alternative].push_back({path, below(dir.shown), std::move(states)});
    };
    struct stat info{};
    if (entry.type == S_IFREG && next.matched) {
      if (::fstatat(opened->get(), entry.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      files[*next.matched].push_back({below(dir.shown), milliseconds(info.st_mtim)});
      ++matches;
    } else if (entry.type == S_IFDIR && !next.states.empty()) {
      go_on(below(dir.path), std::move(next.states));
    } else if (entry.type == S_IFLNK && !next.through_link.empty()) {
      auto target = canonical(below(dir.path));
      if (target && is_within(root_.path, *target)) go_on(*target, std::move(next.through_link));
    }
  }
  for (auto& [alternative, some] : files) std::ranges::move(some, std::back_inserter(found_));
  for (auto& [alternative, some] : dirs) std::ranges::move(some, std::back_inserter(todo_));
}

std::string Walk::newest_first() {
  if (found_.empty()) return "no matches";
  for (std::size_t at = 0; at < found_.size(); ++at) found_[at].at = at;
  std::ranges::sort(found_, {},
                    [](const Found& file) { return std::pair(-file.modified, file.at); });
  if (found_.size() > kMaxResults) found_.resize(kMaxResults);
  std::string lines;
  for (const Found& file : found_) lines += (lines.empty() ? "" : "\n") + file.shown;
  return lines;
}

std::string Walk::run() {
  States start;
  for (std::size_t path = 0; path < paths_.size(); ++path) enter({path, 0}, start);
  if (!start.empty()) todo_.push_back({root_.path, root_.shown, std::move(start)});
  while (!todo_.empty() && !full()) {
    Dir dir = std::move(todo_.back());
    todo_.pop_back();
    visit(dir);
  }
  return newest_first();
}

bool names_parent(std::string_view pattern) {
  std::size_t start = 0;
  for (std::size_t at = 0; at <= pattern.size(); ++at) {
    if (at < pattern.size() && !std::string_view("\\/{},").contains(pattern[at])) continue;
    if (pattern.substr(start, at - start) == "..") return true;
    start = at + 1;
  }
  return false;
}

}  // namespace

Result<std::string> glob(const Input& input, const Context& context) {
  TRY(pattern, input.required("pattern"));
  TRY(path, input.text("path"));
  if (pattern.starts_with('/'))
    return Error{Code::invalid,
                 "glob: absolute pattern not permitted; pass a relative pattern (and optionally "
                 "path)"};
  if (names_parent(pattern))
    return Error{Code::invalid, "glob: \"..\" is not permitted in the pattern"};
  TRY(root, search_root(context, path.value_or("")));
  TRY(paths, parse_glob(pattern));
  return Walk(std::move(paths), std::move(root)).run();
}

}  // namespace glovebox::tools
