#include "cli/folder_tar.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>

namespace glovebox::cli {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kPiece = 64 * 1024;

std::string padded(std::string bytes) {
  bytes.append((kBlock - bytes.size() % kBlock) % kBlock, '\0');
  return bytes;
}

// A ustar header; what does not fit into one stands in a pax record before it.
std::string header(const std::string& name, char type, const struct stat& info, std::uint64_t size,
                   const std::string& link) {
  char head[kBlock] = {};
  auto put = [&](std::size_t at, std::size_t width, std::string_view text) {
    text.substr(0, width).copy(head + at, width);
  };
  auto octal = [&](std::size_t at, int width, std::uint64_t value) {
    std::string text(static_cast<std::size_t>(width) - 1, '0');
    for (auto i = text.size(); i-- > 0; value >>= 3) text[i] = static_cast<char>('0' + (value & 7));
    put(at, text.size(), text);
  };
  put(0, 100, name);
  octal(100, 8, info.st_mode & 07777);
  octal(108, 8, 0);  // whoever owns the files here is nobody there
  octal(116, 8, 0);
  octal(124, 12, std::min<std::uint64_t>(size, 077777777777ull));
  octal(136, 12, static_cast<std::uint64_t>(std::max<std::int64_t>(0, info.st_mtim.tv_sec)));
  put(148, 8, "        ");
  head[156] = type;
  put(157, 100, link);
  put(257, 5, "ustar");
  put(263, 2, "00");
  unsigned sum = 0;
  for (unsigned char c : head) sum += c;
  octal(148, 7, sum);
  return {head, sizeof head};
}

std::string pax_line(std::string_view key, std::string_view value) {
  std::size_t size = key.size() + value.size() + 3;
  std::size_t whole = size + str(size).size();
  if (str(whole).size() != str(size).size()) whole = size + str(whole).size();
  return str(whole, " ", key, "=", value, "\n");
}

bool fits(std::span<const std::string> pattern, std::span<const std::string> path) {
  if (pattern.empty()) return true;  // what is below is meant too
  if (pattern[0] == "**") {
    for (std::size_t skip = 0; skip <= path.size(); ++skip)
      if (fits(pattern.subspan(1), path.subspan(skip)) &&
          (skip < path.size() || pattern.size() == 1))
        return true;
    return false;
  }
  if (path.empty()) return false;
  return ::fnmatch(pattern[0].c_str(), path[0].c_str(), 0) == 0 &&
         fits(pattern.subspan(1), path.subspan(1));
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (auto& part : split(path, '/'))
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
  return parts;
}

}  // namespace

IgnoreList IgnoreList::parse(std::string_view text) {
  IgnoreList list;
  for (const auto& line : split(text, '\n')) {
    std::string_view rule = trim(line);
    if (rule.empty() || rule.starts_with('#')) continue;
    bool back = rule.starts_with('!');
    if (back) rule = trim(rule.substr(1));
    auto parts = parts_of(rule);
    if (parts.empty()) continue;
    list.takes_back_ |= back;
    list.rules_.push_back({std::move(parts), back});
  }
  return list;
}

bool IgnoreList::ignores(const std::string& path) const {
  auto parts = parts_of(path);
  bool ignored = false;
  for (const Rule& rule : rules_)
    if (fits(rule.parts, parts)) ignored = !rule.back;
  return ignored;
}

Result<FolderTar> FolderTar::open(const std::string& folder) {
  FolderTar tar;
  tar.root_ = folder;
  struct stat info{};
  if (::stat(folder.c_str(), &info) < 0) return sys_error(folder);
  if (!S_ISDIR(info.st_mode)) return Error{Code::invalid, str(folder, " is no folder")};
  std::ifstream rules(folder + "/.dockerignore");
  if (rules)
    tar.ignored_ = IgnoreList::parse(std::string(std::istreambuf_iterator<char>(rules), {}));
  tar.waiting_ = {""};
  return tar;
}

Result<void> FolderTar::begin(const std::string& path, std::string& out) {
  const std::string place = path.empty() ? root_ : root_ + "/" + path;
  struct stat info{};
  if ((path.empty() ? ::stat(place.c_str(), &info) : ::lstat(place.c_str(), &info)) < 0)
    return sys_error(place);
  const bool ignored = !path.empty() && ignored_.ignores(path);
  if (S_ISDIR(info.st_mode)) {
    if (!ignored || ignored_.takes_back()) {
      std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })> dir(
          ::opendir(place.c_str()));
      if (!dir) return sys_error(place);
      std::vector<std::string> names;
      while (dirent* entry = ::readdir(dir.get()))
        if (std::string_view name = entry->d_name; name != "." && name != "..")
          names.emplace_back(path.empty() ? std::string(name) : str(path, "/", name));
      std::ranges::sort(names, std::greater<>());
      waiting_.insert(waiting_.end(), names.begin(), names.end());
    }
  }
  if (ignored || path.empty()) return ok;
  std::string link;
  char type = '0';
  std::uint64_t size = 0;
  if (S_ISLNK(info.st_mode)) {
    char target[PATH_MAX];
    ssize_t n = ::readlink(place.c_str(), target, sizeof target);
    if (n < 0) return sys_error(place);
    link.assign(target, static_cast<std::size_t>(n));
    type = '2';
  } else if (S_ISDIR(info.st_mode)) {
    type = '5';
  } else if (S_ISREG(info.st_mode)) {
    file_.reset(::open(place.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file_) return sys_error(place);
    if (::fstat(file_.get(), &info) < 0) return sys_error(place);
    size = left_ = static_cast<std::uint64_t>(info.st_size);
    padding_ = (kBlock - size % kBlock) % kBlock;
  } else {
    return Error{Code::invalid, str(place,
                                    ": neither file, folder nor link; name it in "
                                    ".dockerignore")};
  }
  std::string more;
  if (path.size() > 100) more += pax_line("path", path);
  if (link.size() > 100) more += pax_line("linkpath", link);
  if (size > 077777777777ull) more += pax_line("size", str(size));
  if (!more.empty()) out += header("pax", 'x', info, more.size(), "") + padded(more);
  out += header(path, type, info, size, link);
  return ok;
}

Result<std::string> FolderTar::read() {
  std::string out;
  while (out.size() < kPiece && !ended_) {
    if (left_ > 0) {
      std::string piece(std::min<std::uint64_t>(left_, kPiece), '\0');
      ssize_t n = ::read(file_.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys_error("read a file");
      if (n == 0) return Error{Code::conflict, "a file became shorter while it was sent"};
      out.append(piece.data(), static_cast<std::size_t>(n));
      left_ -= static_cast<std::uint64_t>(n);
      continue;
    }
    out.append(std::exchange(padding_, 0), '\0');
    file_.reset();
    if (waiting_.empty()) {
      out.append(2 * kBlock, '\0');
      ended_ = true;
      break;
    }
    std::string path = std::move(waiting_.back());
    waiting_.pop_back();
    TRY_DO(begin(path, out));
  }
  return out;
}

}  // namespace glovebox::cli
