#include "engine/image_host.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/image_parts.h"
#include "engine/sha256.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr std::string_view kFormat =
    "host image 2";  // change it when the same machine should give another image
constexpr std::string_view kUnfinished = ".new-", kFinished = "host-";

// What says which programs are in /usr: the databases of dpkg, rpm and apk. The first is there on
// all machines we know.
constexpr const char* kPackageDatabases[] = {"/var/lib/dpkg/status",
                                             "/usr/lib/sysimage/rpm/rpmdb.sqlite",
                                             "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed"};

Result<std::string> generation_of(const std::string& host) {
  Sha256 hash;
  hash.add(kFormat);
  bool known = false;
  for (const char* database : kPackageDatabases) {
    Fd file(::open((host + database).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) continue;
    known = true;
    hash.add(database);
    char buffer[65536];
    ssize_t n;
    while ((n = ::read(file.get(), buffer, sizeof buffer)) > 0)
      hash.add({buffer, static_cast<std::size_t>(n)});
    if (n < 0) return sys_error(str("read ", database));
  }
  if (!known)
    return Error{Code::unsupported,
                 "no package database that tells which programs this machine has"};
  return hash.hex().substr(0, 16);
}

Result<std::vector<std::string>> names_with(const Fd& dir, std::string_view prefix) {
  using Dir = std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })>;
  Dir stream(::fdopendir(::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (!stream) return sys_error("list images");
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(stream.get()))
    if (std::string_view(entry->d_name).starts_with(prefix)) names.emplace_back(entry->d_name);
  return names;
}

Result<void> remove_unfinished(const Fd& dir) {
  TRY(names, names_with(dir, kUnfinished));
  for (const std::string& name : names)
    TRY_DO(sys::remove_tree(dir.get(), name), "what an interrupted build left");
  return ok;
}

Result<void> build(const std::string& host, const std::string& dir) {
  for (const char* part : {"/root", "/usr-mask"}) TRY_DO(sys::make_dirs(dir + part, 0755));
  TRY_DO(write_skeleton(host, dir + "/root"), "empty machine");
  TRY_DO(copy_etc(host + "/etc", dir + "/root/etc"), "system settings");
  return write_usr_mask(host + "/usr", dir + "/usr-mask");
}

}  // namespace

Result<HostImage> build_host_image(const std::string& images_dir, const std::string& host) {
  TRY_DO(sys::make_dirs(images_dir, 0700), "image directory");
  Fd images(::open(images_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!images) return sys_error(str("open ", images_dir));
  TRY_DO(remove_unfinished(images));
  TRY(generation, generation_of(host));
  HostImage image{str(images_dir, "/", kFinished, generation), generation};
  if (::access(image.dir.c_str(), F_OK) == 0) return image;

  auto started = std::chrono::steady_clock::now();
  std::string fresh = str(kUnfinished, random_id(12));
  auto built = [&]() -> Result<void> {
    TRY_DO(build(host, str(images_dir, "/", fresh)));
    // One flush for some hundred files. Without it a power loss could leave the name and lose what
    // is in it.
    if (::syncfs(images.get()) != 0) return sys_error("flush the image");
    if (::renameat(images.get(), fresh.c_str(), images.get(), str(kFinished, generation).c_str()) !=
        0)
      return sys_error("rename");
    return ok;
  }();
  if (!built) {
    if (auto removed = sys::remove_tree(images.get(), fresh); !removed)
      log::warn("image.left_over",
                {{"name", fresh}, {"error", removed.error().what}});  // the next build removes it
    return std::move(built.error()).with("build the image \"host\"");
  }
  auto took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - started);
  log::info("image.built", {{"image", "host"}, {"generation", generation}, {"ms", took.count()}});
  return image;
}

// Under another name first: what has its final one is whole, and may be wanted again after a
// downgrade.
Result<void> remove_other_host_images(const std::string& images_dir,
                                      const std::set<std::string>& generations) {
  Fd images(::open(images_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!images) return sys_error(str("open ", images_dir));
  TRY(names, names_with(images, kFinished));
  for (const std::string& name : names) {
    if (generations.contains(name.substr(kFinished.size()))) continue;
    std::string dying = str(kUnfinished, random_id(12));
    if (::renameat(images.get(), name.c_str(), images.get(), dying.c_str()) < 0)
      return sys_error(str("rename ", name));
    TRY_DO(sys::remove_tree(images.get(), dying), name);
    log::info("image.removed", {{"image", "host"}, {"generation", name.substr(kFinished.size())}});
  }
  return ok;
}

}  // namespace glovebox::engine
