#include "image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "image/pack.h"
#include "image/place.h"

namespace glovebox::image {

namespace {

constexpr std::int64_t kHighestId = 65535;  // of a box
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr mode_t kModeBits = 07777;

struct Free {
  void operator()(archive* of) const { ::archive_read_free(of); }
};
using Archive = std::unique_ptr<archive, Free>;

Error refusal(archive* from, std::string_view doing) {
  if (::archive_errno(from) == ENOMEM)
    return {Code::exhausted, str(doing, ": it needs more memory than its reader may have")};
  const char* why = ::archive_error_string(from);
  return {Code::invalid, str(doing, ": ", why ? why : "unreadable")};
}

class Unpacker {
 public:
  Unpacker(archive* from, int tree, const UnpackOptions& options, Report& report)
      : from_(from), place_(tree), options_(options), report_(report) {}

  Result<void> all() {
    for (;;) {
      archive_entry* entry = nullptr;
      const int got = ::archive_read_next_header(from_, &entry);
      if (got == ARCHIVE_EOF) break;
      // A warning is about what we do not use, or about a name, which then is null.
      if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return refusal(from_, "broken archive");
      const char* name = ::archive_entry_pathname(entry);
      if (!name) return Error{Code::invalid, "a member's name cannot be read"};
      TRY_DO(report_.add_entry());
      TRY_DO(take(entry, name), printable(name));
    }
    // Directories' times last: filling a directory changes them.
    for (auto at = folders_.rbegin(); at != folders_.rend(); ++at) {
      auto folder = place_.open(at->path, O_RDONLY | O_DIRECTORY);
      if (folder) (void)::futimens(folder->get(), at->times);
    }
    return ok;
  }

 private:
  struct Folder {
    std::string path;
    timespec times[2];
  };

  static std::string printable(std::string_view name) { return valid_utf8(name.substr(0, 200)); }

  Result<void> take(archive_entry* entry, const char* name) {
    TRY(path, clean_path(name));
    if (path.empty()) return take_root(entry);
    auto [parent_path, base] = split_path(path);
    TRY(parent, place_.directory(parent_path, 0755));
    if (options_.layer && base.starts_with(kWhiteout)) return take_away(parent, parent_path, base);
    if (options_.layer) TRY_DO(note_made(path));
    if (const char* target = ::archive_entry_hardlink(entry))
      return hard_link(parent, path, base, target);
    switch (::archive_entry_filetype(entry)) {
      case AE_IFDIR: return folder(entry, parent, path, base);
      case AE_IFREG: return file(entry, parent, base);
      case AE_IFLNK: return symbolic_link(entry, parent, base);
      case AE_IFIFO:
        TRY_DO(place_.clear(parent, base));
        if (::mkfifoat(parent, base.c_str(), 0600) < 0) return sys_error("make pipe");
        return metadata_at(entry, parent, base);
      case AE_IFBLK:
      case AE_IFCHR:
        if (options_.over && ::archive_entry_filetype(entry) == AE_IFCHR &&
            ::archive_entry_rdev(entry) == 0) {
          place_.forget();
          return place_.clear(parent, base);
        }
        return Error{Code::invalid, "is a device; sandboxes bring their own /dev", "DEVICE"};
      case AE_IFSOCK: return Error{Code::invalid, "is a socket"};
      default: return Error{Code::invalid, "is of no kind we know"};
    }
  }

  // What a layer brings itself its own whiteouts do not touch, in whatever order they stand.
  Result<void> note_made(const std::string& path) {
    for (std::string at = path; !at.empty(); at = split_path(at).parent)
      if (!made_.insert(at).second) break;
    return ok;
  }

  Result<void> take_away(int parent, const std::string& parent_path, const std::string& base) {
    if (base == kOpaque) return empty(parent, parent_path);
    std::string gone = base.substr(kWhiteout.size());
    if (gone.starts_with(kWhiteout)) return ok;  // notes of aufs, of no meaning to others
    if (gone.empty() || gone == "." || gone == "..")
      return Error{Code::invalid, "takes nothing away"};
    if (made_.contains(parent_path.empty() ? gone : parent_path + "/" + gone)) return ok;
    TRY_DO(place_.clear(parent, gone));
    place_.forget();
    return ok;
  }

  // All of earlier layers below `path`.
  Result<void> empty(int parent, const std::string& path) {
    TRY(names, names_in(parent));
    for (const auto& name : names) {
      std::string below = path.empty() ? name : path + "/" + name;
      if (!made_.contains(below)) {
        TRY_DO(place_.clear(parent, name));
        continue;
      }
      // Both layers have it: if it is a directory, the earlier one's part goes.
      Fd inner(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (inner) TRY_DO(empty(inner.get(), below));
    }
    place_.forget();
    return ok;
  }

  Result<void> take_root(archive_entry* entry) {
    if (::archive_entry_filetype(entry) != AE_IFDIR)
      return Error{Code::invalid, "the root is no directory"};
    return metadata_at(entry, place_.root(), ".");
  }

  static bool hides(archive_entry* entry) {
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    if (::archive_entry_xattr_reset(entry) == 0) return false;
    while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
      if (name && std::string_view(name) == kHides) return true;
    return false;
  }

  Result<void> folder(archive_entry* entry, int parent, const std::string& path,
                      const std::string& base) {
    if (options_.over && hides(entry)) {
      TRY_DO(place_.clear(parent, base));
      place_.forget();
    }
    if (::mkdirat(parent, base.c_str(), 0700) < 0) {
      if (errno != EEXIST) return sys_error("make directory");
      struct stat info{};
      if (::fstatat(parent, base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
        return sys_error("look at it");
      if (!S_ISDIR(info.st_mode)) {
        TRY_DO(replace(parent, base));
        if (::mkdirat(parent, base.c_str(), 0700) < 0) return sys_error("make directory");
      }
    }
    TRY_DO(metadata_at(entry, parent, base));
    folders_.push_back({path, {}});
    read_times(entry, folders_.back().times);
    return ok;
  }

  Result<void> replace(int parent, const std::string& base) {
    struct stat info{};
    if (::fstatat(parent, base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
      return errno == ENOENT ? ok : sys_error("look at it");
    TRY_DO(place_.clear(parent, base));
    if (!S_ISREG(info.st_mode)) place_.forget();  // others may have been found through it
    return ok;
  }

  Result<void> file(archive_entry* entry, int parent, const std::string& base) {
    TRY_DO(replace(parent, base));
    Fd out(
        ::openat(parent, base.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!out) return sys_error("make file");
    std::int64_t end = 0;
    for (;;) {
      const void* piece = nullptr;
      std::size_t size = 0;
      std::int64_t offset = 0;
      const int got = ::archive_read_data_block(from_, &piece, &size, &offset);
      if (got == ARCHIVE_EOF) break;
      if (got != ARCHIVE_OK && got != ARCHIVE_WARN) return refusal(from_, "broken member");
      TRY_DO(report_.add_bytes(size));
      // Holes cost whoever sends them nothing, and whoever reads the file later its whole length.
      if (offset < 0) return Error{Code::invalid, "it begins before its beginning"};
      TRY_DO(report_.check_length(static_cast<std::uint64_t>(offset) + size));
      TRY_DO(write_at(out.get(), static_cast<const char*>(piece), size, offset));
      end = offset + static_cast<std::int64_t>(size);
    }
    const std::int64_t whole =
        ::archive_entry_size_is_set(entry) ? ::archive_entry_size(entry) : end;
    if (whole < end) return Error{Code::invalid, "it is longer than it says"};
    if (whole > end) {
      // Only a file with holes may end before its end.
      if (::archive_entry_sparse_count(entry) == 0)
        return Error{Code::invalid, "it is not as long as it says"};
      TRY_DO(report_.check_length(static_cast<std::uint64_t>(whole)));
      if (::ftruncate(out.get(), whole) < 0) return sys_error("length of file");
    }
    return metadata(entry, out.get());
  }

  static Result<void> write_at(int fd, const char* bytes, std::size_t size, std::int64_t offset) {
    while (size > 0) {
      ssize_t n = ::pwrite(fd, bytes, size, offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return sys_error("write file");
      bytes += n;
      offset += n;
      size -= static_cast<std::size_t>(n);
    }
    return ok;
  }

  Result<void> symbolic_link(archive_entry* entry, int parent, const std::string& base) {
    const char* target = ::archive_entry_symlink(entry);
    if (!target || !*target || std::strlen(target) >= PATH_MAX)
      return Error{Code::invalid, "a link without a target"};
    TRY_DO(replace(parent, base));
    if (::symlinkat(target, parent, base.c_str()) < 0) return sys_error("make link");
    TRY_DO(owner_at(entry, parent, base));
    timespec times[2];
    read_times(entry, times);
    (void)::utimensat(parent, base.c_str(), times, AT_SYMLINK_NOFOLLOW);
    return ok;
  }

  Result<void> hard_link(int parent, const std::string& path, const std::string& base,
                         const char* target_name) {
    TRY(target, clean_path(target_name), "link to");
    if (target == path || target.empty()) return Error{Code::invalid, "a link to itself"};
    auto [target_parent, target_base] = split_path(target);
    Place from(place_.root());  // `parent` is borrowed from ours
    TRY(folder, from.directory(target_parent), "link to ", printable(target));
    struct stat info{};
    if (::fstatat(folder, target_base.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
      return sys_error(str("link to ", printable(target)));
    if (S_ISDIR(info.st_mode)) return Error{Code::invalid, "a link to a directory"};
    struct stat there{};
    if (::fstatat(parent, base.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        there.st_ino == info.st_ino && there.st_dev == info.st_dev)
      return ok;  // the same file already
    TRY_DO(replace(parent, base));
    if (::linkat(folder, target_base.c_str(), parent, base.c_str(), 0) < 0)
      return sys_error(str("link to ", printable(target)));
    return ok;
  }

  static void read_times(archive_entry* entry, timespec times[2]) {
    times[0] = times[1] = {0, 0};
    if (::archive_entry_mtime_is_set(entry)) {
      times[1] = {::archive_entry_mtime(entry), ::archive_entry_mtime_nsec(entry)};
      times[0] = times[1];
    }
  }

  static Result<std::pair<uid_t, gid_t>> owner(archive_entry* entry) {
    const std::int64_t uid = ::archive_entry_uid(entry), gid = ::archive_entry_gid(entry);
    if (uid < 0 || uid > kHighestId || gid < 0 || gid > kHighestId)
      return Error{Code::invalid,
                   str("belongs to ", uid, ":", gid, "; a sandbox has ids up to ", kHighestId)};
    return std::pair{static_cast<uid_t>(uid), static_cast<gid_t>(gid)};
  }

  static Result<void> owner_at(archive_entry* entry, int parent, const std::string& base) {
    TRY(ids, owner(entry));
    if (::fchownat(parent, base.c_str(), ids.first, ids.second, AT_SYMLINK_NOFOLLOW) < 0)
      return sys_error("owner");
    return ok;
  }

  // Of a directory or a pipe, which must not be opened for writing.
  Result<void> metadata_at(archive_entry* entry, int parent, const std::string& base) {
    const bool pipe = ::archive_entry_filetype(entry) == AE_IFIFO;
    if (pipe) {
      TRY_DO(owner_at(entry, parent, base));
      // It was made a moment ago and is no link.
      if (::fchmodat(parent, base.c_str(), ::archive_entry_perm(entry) & kModeBits, 0) < 0)
        return sys_error("mode");
      return ok;
    }
    Fd fd(::openat(parent, base.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return sys_error("open it");
    return metadata(entry, fd.get());
  }

  Result<void> metadata(archive_entry* entry, int fd) {
    TRY(ids, owner(entry));
    if (::fchown(fd, ids.first, ids.second) < 0) return sys_error("owner");
    // After the owner, whose change takes set-id bits away. They are kept: boxes are mounted nosuid
    // and may gain nothing by them, and an image should be what it was.
    if (::fchmod(fd, ::archive_entry_perm(entry) & kModeBits) < 0) return sys_error("mode");
    attributes(entry, fd);
    timespec times[2];
    read_times(entry, times);
    (void)::futimens(fd, times);
    return ok;
  }

  void attributes(archive_entry* entry, int fd) {
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    if (::archive_entry_xattr_reset(entry) == 0) return;
    while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      std::string_view key = name ? name : "";
      // user.overlay.* is what an overlay without privileges obeys.
      if (key.starts_with(kOurAttributes)) continue;
      if (!key.starts_with("user.") || key.starts_with("user.overlay.")) {
        report_.note(str("left out: attribute ", key));
        continue;
      }
      if (::fsetxattr(fd, name, value, size, 0) < 0)
        report_.note(str("left out: attribute ", key, " (", errno_name(errno), ")"));
    }
  }

  archive* from_;
  Place place_;
  UnpackOptions options_;
  Report& report_;
  std::vector<Folder> folders_;
  std::set<std::string> made_;
};

}  // namespace

// Tars only, and no filter that would start a program.
static Archive reader() {
  Archive from(::archive_read_new());
  if (!from) return from;
  ::archive_read_support_format_tar(from.get());
  ::archive_read_support_filter_gzip(from.get());
  ::archive_read_support_filter_bzip2(from.get());
  ::archive_read_support_filter_xz(from.get());
  ::archive_read_support_filter_zstd(from.get());
  return from;
}

bool holds_tar(int file) {
  Archive from = reader();
  archive_entry* entry = nullptr;
  return from && ::lseek(file, 0, SEEK_SET) == 0 &&
         ::archive_read_open_fd(from.get(), file, 64 * 1024) == ARCHIVE_OK &&
         ::archive_read_next_header(from.get(), &entry) == ARCHIVE_OK;
}

Result<void> unpack(int source, int tree, const UnpackOptions& options, Report& report) {
  Archive from = reader();
  if (!from) return Error{Code::internal, "no memory for an archive"};
  if (::archive_read_open_fd(from.get(), source, 256 * 1024) != ARCHIVE_OK)
    return refusal(from.get(), "no tar archive");
  TRY_DO(Unpacker(from.get(), tree, options, report).all());
  // What follows the end of the archive is of no interest, but whoever writes it waits for us.
  char rest[64 * 1024];
  for (ssize_t n; (n = ::read(source, rest, sizeof rest)) != 0;)
    if (n < 0 && errno != EINTR) return sys_error("read the archive");
  return ok;
}

}  // namespace glovebox::image
