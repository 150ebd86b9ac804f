#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "hand/child.h"
#include "sys/beneath.h"
#include "sys/tree.h"

// Trees that somebody outside keeps in a box, a session's skills and memories: put there, looked
// at, taken away. The tenant works in them meanwhile, so no link is followed.
namespace glovebox::hand {
namespace {

namespace beneath = sys::beneath;

constexpr std::size_t kMaxFiles = 50'000;
constexpr std::size_t kChunk = 64 * 1024;

// What went wrong as an exit code: an errno, the last one there was.
int failed(const Error& error, int number) {
  const std::string text = error.what + "\n";
  (void)!::write(STDERR_FILENO, text.data(), text.size());
  if (error.code == Code::not_found) return ENOENT;
  if (error.code == Code::invalid) return EINVAL;
  if (error.code == Code::exhausted && number == 0) return E2BIG;
  return number ? number : EIO;
}
template <class T>
int failed(const std::expected<T, Error>& result) {
  return failed(result.error(), errno);
}

std::string sha256(std::string_view bytes) {
  sha256_ctx context;
  ::sha256_init(&context);
  ::sha256_update(&context, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest;
  ::sha256_digest(&context, digest.size(), digest.data());
  return hex(digest);
}

// The folder above a path, and the name in it.
std::pair<std::string, std::string> taken_apart(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == path.npos) return {".", path};
  return {path.substr(0, std::max<std::size_t>(slash, 1)), path.substr(slash + 1)};
}

Result<Fd> open_base(const std::string& path) {
  Fd base(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!base && (errno == ENOTDIR || errno == ELOOP))
    return Error{Code::not_found, str(path, " is no folder")};
  if (!base) return sys_error(path);
  return base;
}

Result<void> copy_stdin(int to) {
  std::string buffer(kChunk, '\0');
  for (;;) {
    ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("read");
    if (n == 0) return ok;
    TRY_DO(beneath::write_all(to, std::string_view(buffer).substr(0, static_cast<std::size_t>(n))));
  }
}

class FileList {
 public:
  Result<void> add(const std::string& path, const Fd& file) {
    struct stat info{};
    if (::fstat(file.get(), &info) < 0) return sys_error(path);
    TRY(hash, beneath::hash_of(file, sha256), path);
    text_ += str(text_.empty() ? "" : ",", R"({"path":")", json_escape(path), R"(","size":)",
                 info.st_size, R"(,"sha256":")", hash, R"("})");
    return ok;
  }
  int send(std::string_view kind) {
    const std::string text = str(R"({"kind":")", kind, R"(","files":[)", text_, "]}");
    auto sent = beneath::write_all(STDOUT_FILENO, text);
    return sent ? 0 : failed(sent);
  }

 private:
  std::string text_;
};

int scan(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) < 0) return failed(sys_error(path), errno);
  FileList files;
  if (S_ISDIR(info.st_mode)) {
    auto base = open_base(path);
    if (!base) return failed(base);
    auto seen = beneath::each_file(
        base->get(), kMaxFiles,
        [&](const std::string& below, const Fd& file) { return files.add(below, file); });
    return seen ? files.send("folder") : failed(seen);
  }
  if (!S_ISREG(info.st_mode)) return files.send("other");
  auto [above, name] = taken_apart(path);
  auto base = open_base(above);
  if (!base) return failed(base);
  auto file = beneath::open_plain(base->get(), name);
  if (!file) return failed(file);
  if (!*file) return failed(Error{Code::not_found, str(path, " is gone")}, ENOENT);
  auto added = files.add("", **file);
  return added ? files.send("file") : failed(added);
}

int make_folder(const std::string& path) {
  auto made = sys::make_dirs(path, 0700);
  return made ? 0 : failed(made);
}

int remove(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) < 0 && (errno == ENOENT || errno == ENOTDIR)) return 0;
  auto removed = sys::remove_tree(path);
  return removed ? 0 : failed(removed);
}

int place(const std::string& path, const std::string& base_path, const std::string& mode_text) {
  ::signal(SIGTERM, SIG_DFL);
  const std::string prefix = base_path == "/" ? "/" : base_path + "/";
  if (!path.starts_with(prefix))
    return failed(Error{Code::invalid, str(path, " is not below ", base_path)}, EINVAL);
  unsigned mode = 0;
  auto [end, error] =
      std::from_chars(mode_text.data(), mode_text.data() + mode_text.size(), mode, 8);
  if (error != std::errc{} || end != mode_text.data() + mode_text.size() || mode > 0777)
    return failed(Error{Code::invalid, "the mode is at most 777, in octal"}, EINVAL);
  auto base = open_base(base_path);
  if (!base) return failed(base);
  auto placed = beneath::replace(base->get(), path.substr(prefix.size()), beneath::Missing::create,
                                 copy_stdin, mode);
  return placed ? 0 : failed(placed);
}

}  // namespace

Result<void> give_folder(const std::string& path, const Identity& identity) {
  if (!identity.switches || !path.starts_with('/')) return ok;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0700) == 0) {
      // Not through a link that has come in between.
      if (::lchown(part.c_str(), identity.uid, identity.gid) < 0) return sys_error(part);
    } else if (errno != EEXIST) {
      return sys_error(part);
    }
    if (end == path.npos) return ok;
  }
}

int run_tree(const std::vector<std::string>& argv) {
  const std::string& verb = argv[0];
  if (verb == "scan") return scan(argv[1]);
  if (verb == "folder") return make_folder(argv[1]);
  if (verb == "remove") return remove(argv[1]);
  return place(argv[1], argv[2], argv[3]);
}

}  // namespace glovebox::hand
