#include "image/copy.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

#include "image/pattern.h"
#include "image/place.h"
#include "image/unpack.h"
#include "sys/tree.h"

namespace glovebox::image {

namespace {

constexpr std::size_t kMaxTable = 1 << 20;  // of /etc/passwd
constexpr std::size_t kMaxSources = 10'000;

std::string joined(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

Result<std::vector<std::string>> names_of(Place& place, const std::string& path) {
  TRY(fd, place.open(path, O_RDONLY | O_DIRECTORY));
  return names_in(fd.get());
}

Result<void> expand(Place& place, const std::string& at, std::vector<std::string> rest,
                    std::vector<std::string>& found) {
  if (rest.empty()) {
    if (found.size() >= kMaxSources) return Error{Code::too_large, "too many sources"};
    found.push_back(at);
    return ok;
  }
  std::string part = rest.front();
  rest.erase(rest.begin());
  if (!is_pattern(part)) return expand(place, joined(at, part), std::move(rest), found);
  auto names = names_of(place, at);
  if (!names) return ok;  // no directory: nothing below it
  for (const auto& name : *names)
    if (matches(part, name)) TRY_DO(expand(place, joined(at, name), rest, found));
  return ok;
}

// A source as it was written, and what it stands for.
Result<std::vector<std::string>> sources_of(int tree, const CopyPlan& plan) {
  Place place(tree);
  std::vector<std::string> all;
  for (std::string_view written : plan.sources) {
    while (written.starts_with('/')) written.remove_prefix(1);
    TRY(clean, clean_path(written));
    std::vector<std::string> parts;
    if (!clean.empty()) parts = split(clean, '/');
    const std::size_t before = all.size();
    TRY_DO(expand(place, "", std::move(parts), all), written);
    if (all.size() == before)
      return Error{Code::not_found, str(written, ": nothing there has such a name")};
  }
  return all;
}

struct Found {
  Fd fd;  // of a link: O_PATH
  struct stat info{};
};
Result<Found> open_source(Place& place, const std::string& path, bool follow) {
  Found found;
  // Looked at before it is opened: opening a device or a pipe acts on it.
  auto look = place.open(path, O_PATH);
  if (!look) {
    if (look.error().code == Code::not_found)
      return Error{Code::not_found, str(path, ": no such file among the sources")};
    return std::move(look.error());
  }
  if (::fstat(look->get(), &found.info) < 0) return sys_error(path);
  if (S_ISLNK(found.info.st_mode) && follow) {
    auto [parent, base] = split_path(path);
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(look->get(), "", target, sizeof target);
    if (n <= 0 || n == sizeof target) return sys_error(path);
    return Error{Code::invalid,
                 str(path, ": is a link to ", valid_utf8({target, static_cast<std::size_t>(n)}),
                     "; name what it leads to")};
  }
  if (S_ISREG(found.info.st_mode) || S_ISDIR(found.info.st_mode)) {
    TRY(fd, place.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    found.fd = std::move(fd);
  } else if (S_ISLNK(found.info.st_mode)) {
    found.fd = std::move(*look);
  } else {
    return Error{Code::invalid, str(path, ": neither file, directory nor link")};
  }
  return found;
}

Result<std::string> link_target(int fd) {
  char target[PATH_MAX];
  ssize_t n = ::readlinkat(fd, "", target, sizeof target);
  if (n <= 0 || n == sizeof target) return sys_error("read a link");
  return std::string(target, static_cast<std::size_t>(n));
}

std::optional<unsigned> lookup(const std::string& table, const std::string& name,
                               bool group_of_user) {
  for (const auto& line : split(table, '\n')) {
    auto row = split(line, ':');
    if (row.size() >= 4 && row[0] == name) return parse_int<unsigned>(row[group_of_user ? 3 : 2]);
  }
  return std::nullopt;
}

// By the tree's own tables, as the program inside would see it.
Result<std::pair<uid_t, gid_t>> owner_of(int tree, const std::string& text) {
  if (text.empty()) return std::pair<uid_t, gid_t>{0, 0};
  auto table = [&](const char* path) -> std::string {
    Place place(tree);
    auto file = place.open(path, O_RDONLY | O_NONBLOCK);
    if (!file) return "";
    return sys::read_all(file->get(), kMaxTable).value_or("");
  };
  auto colon = text.find(':');
  std::string user = text.substr(0, colon);
  std::string group = colon == text.npos ? "" : text.substr(colon + 1);
  auto uid = parse_int<unsigned>(user);
  std::optional<unsigned> gid;
  if (!uid) {
    std::string passwd = table("etc/passwd");
    uid = lookup(passwd, user, false);
    gid = lookup(passwd, user, true);
  }
  if (!group.empty()) {
    gid = parse_int<unsigned>(group);
    if (!gid) gid = lookup(table("etc/group"), group, false);
  } else if (!gid) {
    gid = uid;
  }
  if (!uid || !gid || *uid > 65535 || *gid > 65535)
    return Error{Code::invalid, str("--chown=", text, ": the image has no such user or group")};
  return std::pair<uid_t, gid_t>{*uid, *gid};
}

class Copier {
 public:
  Copier(int source, int tree, const CopyPlan& plan, std::pair<uid_t, gid_t> owner, Report& report)
      : from_(source), to_(tree), plan_(plan), owner_(owner), report_(report) {}

  Result<void> all(const std::vector<std::string>& sources) {
    std::string_view written = plan_.dest;
    bool into = written.ends_with('/') || written.empty();
    while (written.starts_with('/')) written.remove_prefix(1);
    TRY(dest, clean_path(written));
    if (sources.size() > 1 && !into)
      return Error{Code::invalid,
                   str("the destination of several sources must end in '/': ", plan_.dest)};
    if (!into) {
      auto there = to_.directory(dest);
      into = there.has_value();
    }
    if (sources.empty()) return make_top(dest);
    for (const auto& source : sources) {
      TRY(found, open_source(from_, source, true));
      if (S_ISDIR(found.info.st_mode)) {
        TRY_DO(make_top(dest));
        TRY_DO(content(source, dest), source);
      } else if (plan_.extract && is_tar(found.fd.get())) {
        TRY_DO(make_top(dest));
        TRY(folder, to_.open(dest, O_RDONLY | O_DIRECTORY));
        if (::lseek(found.fd.get(), 0, SEEK_SET) < 0) return sys_error("rewind");
        TRY_DO(unpack(found.fd.get(), folder.get(), {}, report_), source);
        to_.forget();
      } else {
        std::string place = into ? joined(dest, split_path(source).base) : dest;
        if (place.empty()) return Error{Code::invalid, "the destination is the root"};
        TRY_DO(make_top(split_path(place).parent));
        TRY_DO(file(found, place), source);
      }
    }
    return ok;
  }

 private:
  // The last of missing directories, and no other, is the owner's: as Docker does it.
  Result<void> make_top(const std::string& path) {
    if (to_.directory(path)) return ok;
    TRY(fd, to_.directory(path, 0755));
    if (::fchownat(fd, "", owner_.first, owner_.second, AT_EMPTY_PATH) < 0)
      return sys_error("owner");
    return ok;
  }

  Result<void> content(const std::string& source, const std::string& dest) {
    TRY(names, names_of(from_, source));
    for (const auto& name : names) {
      const std::string from = joined(source, name), to = joined(dest, name);
      TRY_DO(report_.add_entry());
      TRY(found, open_source(from_, from, false));
      if (S_ISDIR(found.info.st_mode)) {
        TRY_DO(folder(found, to));
        TRY_DO(content(from, to));
        TRY(parent, to_.directory(split_path(to).parent));
        set_times(found, parent, split_path(to).base);
      } else if (S_ISLNK(found.info.st_mode)) {
        TRY_DO(symbolic_link(found, to));
      } else {
        TRY_DO(file(found, to), from);
      }
    }
    return ok;
  }

  Result<void> folder(const Found& found, const std::string& to) {
    auto [parent_path, base] = split_path(to);
    TRY(parent, to_.directory(parent_path));
    struct stat there{};
    const bool exists = ::fstatat(parent, base.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
    // A link to a directory stays one, and is copied into: /lib of most images is one.
    if (exists && S_ISLNK(there.st_mode) && to_.directory(to)) return ok;
    TRY(again, to_.directory(parent_path));
    if (exists && !S_ISDIR(there.st_mode)) {
      TRY_DO(to_.clear(again, base));
      to_.forget();
    }
    if (::mkdirat(again, base.c_str(), 0700) < 0 && errno != EEXIST)
      return sys_error(str("make ", to));
    if (exists && S_ISDIR(there.st_mode)) return ok;  // keeps its owner and mode
    Fd fd(::openat(again, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return sys_error(str("open ", to));
    return own(fd.get(), found.info.st_mode);
  }

  Result<void> symbolic_link(const Found& found, const std::string& to) {
    auto [parent_path, base] = split_path(to);
    TRY(parent, to_.directory(parent_path));
    TRY(target, link_target(found.fd.get()));
    TRY_DO(to_.clear(parent, base));
    to_.forget();
    if (::symlinkat(target.c_str(), parent, base.c_str()) < 0) return sys_error("make link");
    if (::fchownat(parent, base.c_str(), owner_.first, owner_.second, AT_SYMLINK_NOFOLLOW) < 0)
      return sys_error("owner");
    return ok;
  }

  Result<void> file(const Found& found, const std::string& to) {
    auto [parent_path, base] = split_path(to);
    TRY(parent, to_.directory(parent_path));
    TRY_DO(to_.clear(parent, base));
    Fd out(::openat(parent, base.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!out) return sys_error(str("make ", to));
    if (::lseek(found.fd.get(), 0, SEEK_SET) < 0) return sys_error("rewind");
    std::array<char, 128 * 1024> piece;
    for (;;) {
      ssize_t n = ::read(found.fd.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys_error("read");
      if (n == 0) break;
      TRY_DO(report_.add_bytes(static_cast<std::uint64_t>(n)));
      for (std::string_view rest(piece.data(), static_cast<std::size_t>(n)); !rest.empty();) {
        ssize_t written = ::write(out.get(), rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return sys_error(str("write ", to));
        rest.remove_prefix(static_cast<std::size_t>(written));
      }
    }
    TRY_DO(own(out.get(), found.info.st_mode));
    timespec times[2] = {found.info.st_mtim, found.info.st_mtim};
    (void)::futimens(out.get(), times);
    return ok;
  }

  Result<void> own(int fd, mode_t mode) {
    if (::fchown(fd, owner_.first, owner_.second) < 0) return sys_error("owner");
    if (::fchmod(fd, plan_.mode ? *plan_.mode : mode & 07777) < 0) return sys_error("mode");
    return ok;
  }

  static void set_times(const Found& found, int parent, const std::string& base) {
    timespec times[2] = {found.info.st_mtim, found.info.st_mtim};
    (void)::utimensat(parent, base.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }

  static bool is_tar(int fd) {
    char head[512] = {};
    ssize_t n = ::pread(fd, head, sizeof head, 0);
    std::string_view bytes(head, n > 0 ? static_cast<std::size_t>(n) : 0);
    using namespace std::string_view_literals;
    for (auto magic : {"\x1f\x8b"sv, "BZh"sv,
                       "\xfd"
                       "7zXZ\0"sv,
                       "\x28\xb5\x2f\xfd"sv})
      if (bytes.starts_with(magic)) return holds_tar(fd);
    return bytes.size() == sizeof head && bytes.substr(257, 5) == "ustar";
  }

  Place from_, to_;
  const CopyPlan& plan_;
  std::pair<uid_t, gid_t> owner_;
  Report& report_;
};

class Sha256 {
 public:
  Sha256() { ::nettle_sha256_init(&context_); }
  void add(std::string_view bytes) {
    ::nettle_sha256_update(&context_, bytes.size(),
                           reinterpret_cast<const std::uint8_t*>(bytes.data()));
  }
  // With its length, so that no two lists of fields look alike.
  void field(std::string_view bytes) {
    add(str(bytes.size(), ":"));
    add(bytes);
  }
  std::string finish() {
    std::uint8_t out[SHA256_DIGEST_SIZE];
    ::nettle_sha256_digest(&context_, sizeof out, out);
    return hex(out);
  }

 private:
  sha256_ctx context_;
};

Result<void> hash_tree(Place& place, const std::string& path, const std::string& shown, bool top,
                       Sha256& hash, Report& report) {
  TRY_DO(report.add_entry());
  TRY(found, open_source(place, path, top));
  hash.field(shown);
  hash.field(str(static_cast<unsigned>(found.info.st_mode)));
  if (S_ISLNK(found.info.st_mode)) {
    TRY(target, link_target(found.fd.get()));
    hash.field(target);
    return ok;
  }
  if (S_ISREG(found.info.st_mode)) {
    hash.field(str(static_cast<std::int64_t>(found.info.st_size)));
    std::array<char, 128 * 1024> piece;
    for (;;) {
      ssize_t n = ::read(found.fd.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys_error(path);
      if (n == 0) return ok;
      TRY_DO(report.add_bytes(static_cast<std::uint64_t>(n)));
      hash.add({piece.data(), static_cast<std::size_t>(n)});
    }
  }
  TRY(names, names_of(place, path));
  hash.field(str(names.size()));
  for (const auto& name : names)
    TRY_DO(hash_tree(place, joined(path, name), joined(shown, name), false, hash, report));
  return ok;
}

}  // namespace

Result<void> copy(int source, int tree, const CopyPlan& plan, Report& report) {
  TRY(owner, owner_of(tree, plan.owner));
  TRY(sources, sources_of(source, plan));
  return Copier(source, tree, plan, owner, report).all(sources);
}

Result<std::string> digest(int source, const CopyPlan& plan, Report& report) {
  TRY(sources, sources_of(source, plan));
  Sha256 hash;
  Place place(source);
  for (const auto& path : sources)
    TRY_DO(hash_tree(place, path, split_path(path).base, true, hash, report), path);
  return hash.finish();
}

}  // namespace glovebox::image
