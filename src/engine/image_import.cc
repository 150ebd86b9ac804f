// Images from archives: a root tarball, an OCI layout, or what `docker save` writes.

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>

#include "base/fault.h"
#include "engine/core.h"
#include "engine/images.h"
#include "engine/oci.h"
#include "engine/sha256.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr std::size_t kMaxJson = 4 << 20;

struct Counted {
  Sha256 hash;
  std::uint64_t bytes = 0;
  Images::Source source;
  Images::Progress progress;
};
Task<std::string> counted(std::shared_ptr<Counted> state) {
  CO_TRY(piece, co_await state->source());
  state->hash.add(piece);
  state->bytes += piece.size();
  if (state->progress.bytes) state->progress.bytes(state->bytes, 0);
  co_return piece;
}

// Below an unpacked archive, which is hostile. Blocks.
Result<Fd> open_file(int tree, const std::string& path) {
  auto look = sys::open_in_root(tree, path, O_PATH);
  struct stat info{};
  if (!look) {
    if (look.error().code == Code::not_found)
      return Error{Code::invalid, str("the archive has no ", valid_utf8(path))};
    return std::move(look.error());
  }
  if (::fstat(look->get(), &info) < 0) return sys_error(path);
  if (!S_ISREG(info.st_mode))
    return Error{Code::invalid, str(valid_utf8(path), " of the archive is no file")};
  return sys::open_in_root(tree, path, O_RDONLY);
}

using Stop = const std::atomic<bool>&;

// No blob has holes; with them an archive of a few bytes would keep us reading for days.
Result<std::string> digest_of(int fd, Stop stop) {
  struct stat info{};
  if (::fstat(fd, &info) < 0) return sys_error("look at a blob");
  constexpr std::int64_t kRounding = 4096, kBlock = 512;  // the latter is stat's
  if (info.st_size > info.st_blocks * kBlock + kRounding)
    return Error{Code::invalid, "a blob of the archive has holes"};
  Sha256 hash;
  std::string piece(256 * 1024, '\0');
  if (::lseek(fd, 0, SEEK_SET) < 0) return sys_error("rewind");
  for (;;) {
    if (stop) return Error{Code::cancelled, "the engine stops"};
    ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_error("read");
    if (n == 0) break;
    hash.add(std::string_view(piece).substr(0, static_cast<std::size_t>(n)));
  }
  if (::lseek(fd, 0, SEEK_SET) < 0) return sys_error("rewind");
  return "sha256:" + hash.hex();
}

Result<Fd> open_blob(int tree, const std::string& digest, Stop stop) {
  TRY_DO(check_digest(digest));
  TRY(fd, open_file(tree, "blobs/sha256/" + digest.substr(digest.find(':') + 1)));
  TRY(found, digest_of(fd.get(), stop));
  if (found != digest)
    return Error{Code::invalid, str("blob ", digest, " is damaged: it has the digest ", found)};
  return fd;
}

struct Layout {
  std::string name, digest;  // as the archive says
  ImageConfig config;
  std::vector<Layer> layers;
};

Task<Fd> opened(std::shared_ptr<Fd> file) { co_return std::move(*file); }
Layer layer_of(std::string digest, Fd file) {
  auto held = std::make_shared<Fd>(std::move(file));
  return {std::move(digest), [held] { return opened(held); }};
}

Result<Layout> read_oci(int tree, Stop stop) {
  TRY(index_file, open_file(tree, "index.json"));
  TRY(text, sys::read_all(index_file.get(), kMaxJson), "index.json");
  TRY(chosen, choose_manifest(text), "index.json");
  for (int depth = 0; chosen.index; ++depth) {
    if (depth > 3) return Error{Code::invalid, "an index within an index within an index"};
    TRY(blob, open_blob(tree, chosen.digest, stop));
    TRY(inner, sys::read_all(blob.get(), kMaxJson));
    std::string name = chosen.name;
    TRY(next, choose_manifest(inner));
    chosen = std::move(next);
    if (chosen.name.empty()) chosen.name = name;
  }
  Layout layout{chosen.name, chosen.digest, {}, {}};
  TRY(manifest_file, open_blob(tree, chosen.digest, stop));
  TRY(manifest_text, sys::read_all(manifest_file.get(), kMaxJson));
  TRY(manifest, decode_manifest(manifest_text), "manifest");
  TRY(config_file, open_blob(tree, manifest.config, stop));
  TRY(config_text, sys::read_all(config_file.get(), kMaxJson));
  TRY(config, decode_oci_config(config_text));
  layout.config = std::move(config);
  for (const auto& digest : manifest.layers) {
    TRY(blob, open_blob(tree, digest, stop));
    layout.layers.push_back(layer_of(digest, std::move(blob)));
  }
  return layout;
}

// Older archives of Docker name layers by what they hold unpacked.
Result<Layout> read_docker(int tree, Stop stop) {
  TRY(file, open_file(tree, "manifest.json"));
  TRY(text, sys::read_all(file.get(), kMaxJson), "manifest.json");
  TRY(saved, decode_docker_manifest(text), "manifest.json");
  Layout layout{saved.name, "", {}, {}};
  TRY(config_file, open_file(tree, saved.config));
  TRY(config_text, sys::read_all(config_file.get(), kMaxJson));
  TRY(config, decode_oci_config(config_text));
  TRY(diff_ids, decode_diff_ids(config_text));
  layout.config = std::move(config);
  if (diff_ids.size() != saved.layers.size())
    return Error{Code::invalid, "it has not as many layers as its configuration says"};
  for (std::size_t i = 0; i < saved.layers.size(); ++i) {
    TRY(layer, open_file(tree, saved.layers[i]));
    TRY(digest, digest_of(layer.get(), stop));
    // A compressed one is named by its own digest instead.
    bool named = saved.layers[i].find(digest.substr(7)) != std::string::npos;
    if (digest != diff_ids[i] && !named)
      return Error{Code::invalid, str("layer ", saved.layers[i], " is damaged: it should be ",
                                      valid_utf8(diff_ids[i]), " and is ", digest)};
    layout.layers.push_back(layer_of(digest, std::move(layer)));
  }
  return layout;
}

Result<Layout> read_layout(const std::string& tree_path, Stop stop) {
  Fd tree(::open(tree_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!tree) return sys_error("open what was unpacked");
  if (::faccessat(tree.get(), "oci-layout", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    return read_oci(tree.get(), stop);
  return read_docker(tree.get(), stop);
}

bool is_layout(const std::string& tree) {
  auto file = [&](const char* name) {
    struct stat info{};
    return ::lstat(str(tree, "/", name).c_str(), &info) == 0 && S_ISREG(info.st_mode);
  };
  return file("oci-layout") || file("manifest.json");
}

}  // namespace

Task<ImageRecord> Images::import(std::string name, std::string source, Source bytes,
                                 Progress progress) {
  if (!name.empty()) CO_TRY_DO(check_name(name));
  CO_TRY(fresh, co_await draft(""));
  CO_TRY(range, Range::take(core_));
  auto state = std::make_shared<Counted>();
  state->source = std::move(bytes);
  state->progress = progress;
  std::vector<std::string> words{"unpack", range.text(), tree(fresh)};
  for (auto& word : limits()) words.push_back(std::move(word));
  Source through = [state] { return counted(state); };
  CO_TRY(unpacked, co_await tool_.run_on_stream(std::move(words), std::move(through)),
         "unpack the archive");
  CO_FAULT("image.after_unpack");
  for (const auto& note : unpacked.notes) progress.line(note);
  if (is_layout(tree(fresh)))
    co_return co_await import_layout(std::move(name), std::move(source), std::move(fresh),
                                     std::move(progress));
  if (name.empty())
    co_return Error{Code::invalid, "a root tarball has no name of its own: give one"};
  if (unpacked.entries == 0) co_return Error{Code::invalid, "the archive is empty"};
  std::string key = Sha256().field("tar").field(state->hash.hex()).hex();
  if (!has_root(key))
    CO_TRY_DO(co_await keep(std::move(fresh), {key, "", unpacked.bytes, unpacked.entries}));
  CO_TRY(root, co_await finished(key));
  ImageRecord image;
  image.name = std::move(name);
  image.root = root;
  image.source = source.empty() ? "root tarball" : source;
  co_return co_await publish(std::move(image), Reuse::no);
}

Task<ImageRecord> Images::import_layout(std::string name, std::string source, Draft unpacked,
                                        Progress progress) {
  progress.line("check digests");
  auto layout = std::make_shared<Layout>();
  std::function<Result<void>()> read = [this, layout, path = tree(unpacked)]() -> Result<void> {
    TRY(found, read_layout(path, core_.stopping));
    *layout = std::move(found);
    return ok;
  };
  CO_TRY_DO(co_await core_.pool.run(std::move(read)), "the archive's image");
  if (name.empty()) name = layout->name;
  if (name.empty())
    co_return Error{Code::invalid,
                    "the archive does not say what the image is called: give a name"};
  CO_TRY_DO(check_name(name));
  CO_TRY(top, co_await apply(std::move(layout->layers), progress));
  CO_TRY(root, co_await finished(top));
  ImageRecord image;
  image.name = std::move(name);
  image.root = root;
  image.source = source.empty() ? "archive" : source;
  image.digest = layout->digest;
  image.config = layout->config;
  co_return co_await publish(std::move(image), Reuse::no);
}

}  // namespace glovebox::engine
