#include "cli/tree_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "base/fd.h"
#include "cli/output.h"

namespace glovebox::cli {

namespace {

constexpr std::size_t kPiece = 64 * 1024;

struct FreeReader {
  void operator()(archive* of) const { ::archive_read_free(of); }
};
struct FreeWriter {
  void operator()(archive* of) const { ::archive_write_free(of); }
};
using Reader = std::unique_ptr<archive, FreeReader>;
using Writer = std::unique_ptr<archive, FreeWriter>;

Error failed(archive* of, std::string_view doing) {
  const char* why = ::archive_error_string(of);
  return {Code::internal, str(doing, ": ", why ? why : "cannot be read or written")};
}

// libarchive names what it reads and writes by the working directory.
class WorkingIn {
 public:
  static Result<std::unique_ptr<WorkingIn>> enter(const std::string& dir) {
    auto there = std::make_unique<WorkingIn>();
    there->before_.reset(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!there->before_) return sys_error("open the working directory");
    if (::chdir(dir.c_str()) < 0) return sys_error(str("enter ", dir));
    return there;
  }
  ~WorkingIn() {
    if (before_) (void)!::fchdir(before_.get());
  }

 private:
  Fd before_;
};

Result<void> copy_data(archive* from, archive* to) {
  std::array<char, kPiece> buffer;
  for (;;) {
    const la_ssize_t got = ::archive_read_data(from, buffer.data(), buffer.size());
    if (got < 0) return failed(from, "read a file");
    if (got == 0) return ok;
    if (::archive_write_data(to, buffer.data(), static_cast<std::size_t>(got)) < 0)
      return failed(to, "write a file");
  }
}

Result<void> add_file(archive* to, const char* path) {
  Fd file(::open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return sys_error(str("open ", path));
  std::array<char, kPiece> buffer;
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0) return sys_error(str("read ", path));
    if (got == 0) return ok;
    // One that grew meanwhile ends where it was said to end.
    if (::archive_write_data(to, buffer.data(), static_cast<std::size_t>(got)) < 0)
      return failed(to, str("write ", path));
  }
}

bool harmless(const std::string& name) {
  if (name.empty() || name.front() == '/') return false;
  for (const std::string& part : split(name, '/'))
    if (part == "..") return false;
  return true;
}

// What becomes of an entry here. False: it is left out.
bool tame(archive_entry* entry, Links links) {
  const char* name = ::archive_entry_pathname(entry);
  if (!name || !harmless(name)) return false;
  if (const char* link = ::archive_entry_hardlink(entry)) return harmless(link);
  const mode_t type = ::archive_entry_filetype(entry);
  if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) return false;
  // Without ".." each link leads downwards, and so does a chain of them.
  const char* target = type == AE_IFLNK ? ::archive_entry_symlink(entry) : nullptr;
  if (type == AE_IFLNK && links == Links::downwards && !(target && harmless(target))) return false;
  ::archive_entry_set_perm(entry, ::archive_entry_perm(entry) & 0777);
  ::archive_entry_xattr_clear(entry);
  ::archive_entry_acl_clear(entry);
  return true;
}

void drain(int from) {
  std::array<char, kPiece> buffer;
  while (::read(from, buffer.data(), buffer.size()) > 0) {
  }
}

Result<Unpacked> unpack(int from, Links links) {
  Reader reader(::archive_read_new());
  ::archive_read_support_format_tar(reader.get());
  if (::archive_read_open_fd(reader.get(), from, kPiece) != ARCHIVE_OK)
    return failed(reader.get(), "read the tree");
  Writer disk(::archive_write_disk_new());
  ::archive_write_disk_set_options(
      disk.get(), ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_UNLINK |
                      ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                      ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
  Unpacked done;
  for (;;) {
    archive_entry* entry = nullptr;
    const int next = ::archive_read_next_header(reader.get(), &entry);
    if (next == ARCHIVE_EOF) break;
    if (next < ARCHIVE_WARN) return failed(reader.get(), "read the tree");
    if (!tame(entry, links)) {
      ++done.left_out;
      continue;
    }
    const std::string name = ::archive_entry_pathname(entry);
    if (::archive_write_header(disk.get(), entry) < ARCHIVE_WARN)
      return failed(disk.get(), printable(name));
    if (::archive_entry_filetype(entry) == AE_IFREG && !::archive_entry_hardlink(entry))
      TRY_DO(copy_data(reader.get(), disk.get()), printable(name));
    if (::archive_write_finish_entry(disk.get()) < ARCHIVE_WARN)
      return failed(disk.get(), printable(name));
    done.files += ::archive_entry_filetype(entry) != AE_IFDIR;
  }
  if (::archive_write_close(disk.get()) < ARCHIVE_WARN)
    return failed(disk.get(), "finish the tree");
  return done;
}

}  // namespace

Result<void> pack_tree(const std::string& dir, int to) {
  TRY(there, WorkingIn::enter(dir));
  Reader disk(::archive_read_disk_new());
  ::archive_read_disk_set_symlink_physical(disk.get());
  ::archive_read_disk_set_behavior(
      disk.get(), ARCHIVE_READDISK_NO_XATTR | ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_FFLAGS);
  if (::archive_read_disk_open(disk.get(), ".") != ARCHIVE_OK) return failed(disk.get(), "read");
  Writer writer(::archive_write_new());
  ::archive_write_set_format_gnutar(writer.get());
  ::archive_write_set_bytes_in_last_block(writer.get(), 1);
  if (::archive_write_open_fd(writer.get(), to) != ARCHIVE_OK)
    return failed(writer.get(), "write the tree");
  std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(::archive_entry_new(),
                                                                 ::archive_entry_free);
  for (;;) {
    ::archive_entry_clear(entry.get());
    const int next = ::archive_read_next_header2(disk.get(), entry.get());
    if (next == ARCHIVE_EOF) break;
    if (next < ARCHIVE_WARN) return failed(disk.get(), "read the tree");
    ::archive_read_disk_descend(disk.get());
    const mode_t type = ::archive_entry_filetype(entry.get());
    if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) continue;  // no file to copy
    ::archive_entry_set_uid(entry.get(), 0);
    ::archive_entry_set_gid(entry.get(), 0);
    ::archive_entry_set_uname(entry.get(), "root");
    ::archive_entry_set_gname(entry.get(), "root");
    const std::string name = ::archive_entry_pathname(entry.get());
    if (::archive_write_header(writer.get(), entry.get()) < ARCHIVE_WARN)
      return failed(writer.get(), printable(name));
    if (type == AE_IFREG) TRY_DO(add_file(writer.get(), name.c_str()));
    if (::archive_write_finish_entry(writer.get()) < ARCHIVE_WARN)
      return failed(writer.get(), printable(name));
  }
  if (::archive_write_close(writer.get()) < ARCHIVE_WARN)
    return failed(writer.get(), "finish the tree");
  return ok;
}

Result<Unpacked> unpack_tree(int from, const std::string& dir, Links links) {
  auto there = WorkingIn::enter(dir);
  auto done = there ? unpack(from, links) : Result<Unpacked>(std::move(there.error()));
  drain(from);  // or the one who writes it would never learn that all is said
  return done;
}

}  // namespace glovebox::cli
