#include <re2/re2.h>
#include <unistd.h>

#include <chrono>

#include "tools/file_tools.h"
#include "tools/fs.h"
#include "tools/place.h"
#include "tools/regex.h"
#include "tools/text.h"

namespace glovebox::tools {
namespace {

constexpr std::size_t kMaxEntries = 50'000;
constexpr std::size_t kMaxDepth = 40;
constexpr std::size_t kMaxLine =
    2'000;  // characters; longer lines are no text anybody wants to see
constexpr std::size_t kMaxLineBytes = 3 * 2'000;  // no 2,000 characters are longer

bool skipped(std::string_view name) { return name == ".git" || name == "node_modules"; }

class Search {
 public:
  Search(const RE2& regex, Millis limit)
      : regex_(regex), limit_(limit), deadline_(std::chrono::steady_clock::now() + limit) {}

  void run(const SearchRoot& root);
  Result<std::string> result() &&;

 private:
  // A folder that is being searched.
  struct Level {
    std::string path, shown;  // canonical; as the results spell it
    Fd dir;
    std::vector<Entry> entries;
    std::size_t next = 0;
  };
  enum class Go : bool { on, stop };

  void enter(std::string path, std::string shown);
  Go search_file(int descriptor, const std::string& shown);
  Go search_line(std::string_view line, std::uint64_t number, const std::string& shown);
  Go add(std::string line);
  bool late() {
    late_ = late_ || std::chrono::steady_clock::now() >= deadline_;
    return late_;
  }

  const RE2& regex_;
  Millis limit_;
  std::chrono::steady_clock::time_point deadline_;
  std::vector<Level> levels_;
  bool late_ = false;
  std::size_t entries_ = 0;
  std::size_t used_ = 0;  // characters of output, with their newlines
  std::string output_;
};

// Depth first, in the order of names: what is in a folder stands where the folder does.
void Search::run(const SearchRoot& root) {
  if (auto file = open_regular(root.path); file && file->file) {
    search_file(file->file.get(), root.shown);
    return;
  }
  auto below = [](const std::string& path, const std::string& name) {
    return path == "/" ? path + name : str(path, '/', name);
  };
  enter(root.path, root.shown);
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.next == level.entries.size()) {
      levels_.pop_back();
      continue;
    }
    const Entry& entry = level.entries[level.next++];
    if (skipped(entry.name)) continue;
    if (++entries_ > kMaxEntries || late()) return;
    std::string shown = below(level.shown, entry.name);
    if (entry.type == S_IFDIR && levels_.size() <= kMaxDepth) {
      enter(below(level.path, entry.name), std::move(shown));
    } else if (entry.type == S_IFREG) {
      auto file = open_regular(level.dir.get(), entry.name);
      if (file && file->file && search_file(file->file.get(), shown) == Go::stop) return;
    }
  }
}

// What cannot be read is passed over.
void Search::enter(std::string path, std::string shown) {
  auto opened = open_dir(path);
  auto entries = opened ? list_dir(opened->get()) : std::unexpected(opened.error());
  if (!entries) return;
  if (entries->size() > kMaxEntries) entries->resize(kMaxEntries);
  levels_.push_back({std::move(path), std::move(shown), *std::move(opened), *std::move(entries)});
}

Search::Go Search::search_file(int descriptor, const std::string& shown) {
  std::string piece(64 * 1024, '\0');
  std::string line;
  std::uint64_t number = 0;
  bool open_line = false;
  for (;;) {
    if (late()) return Go::stop;
    ssize_t got = ::read(descriptor, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    std::string_view rest(piece.data(), static_cast<std::size_t>(got));
    // What is left of a binary file is of no interest.
    bool binary = rest.find('\0') != rest.npos;
    if (binary) rest = rest.substr(0, rest.find('\0'));
    while (!rest.empty()) {
      std::size_t length = rest.find('\n');
      // One byte over the limit is kept, to tell that it is over.
      line += rest.substr(0, std::min(length, kMaxLineBytes + 1 - line.size()));
      open_line = length == rest.npos;
      if (open_line) break;
      if (search_line(line, ++number, shown) == Go::stop) return Go::stop;
      line.clear();
      rest.remove_prefix(length + 1);
    }
    if (binary) return Go::on;
  }
  return open_line ? search_line(line, number + 1, shown) : Go::on;
}

Search::Go Search::search_line(std::string_view line, std::uint64_t number,
                               const std::string& shown) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() > kMaxLineBytes) return Go::on;
  std::string text = valid_utf8(line);
  if (text.size() > kMaxLine && characters(text) > kMaxLine) return Go::on;
  if (!RE2::PartialMatch(text, regex_)) return Go::on;
  return add(str(valid_utf8(shown), ':', number, ':', text));
}

Search::Go Search::add(std::string line) {
  if (!output_.empty()) output_ += '\n';
  used_ += characters(line) + 1;
  if (used_ > kOutputLimit) {
    output_ += str("[output truncated at ", kOutputLimit, " bytes]");
    return Go::stop;
  }
  output_ += line;
  return Go::on;
}

Result<std::string> Search::result() && {
  if (!late_) return output_.empty() ? "no matches" : std::move(output_);
  if (output_.empty())
    return Error{Code::timeout,
                 str("grep: timed out after ", static_cast<double>(limit_.count()) / 1000, "s")};
  return str(output_, "\n[the search was cut short after ", limit_.count(), " ms]");
}

}  // namespace

Result<std::string> grep(const Input& input, const Context& context) {
  TRY(pattern, input.required("pattern"));
  TRY(path, input.text("path"));
  TRY(root, search_root(context, path.value_or("")));

  RE2::Options options;
  options.set_log_errors(false);
  RE2 regex(in_re2(pattern), options);
  if (!regex.ok()) return Error{Code::invalid, str("grep: invalid regex: ", regex.error())};

  Search search(regex, context.grep_timeout);
  search.run(root);
  return std::move(search).result();
}

}  // namespace glovebox::tools
