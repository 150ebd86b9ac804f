#include "sys/loop_device.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace glovebox::sys {

namespace {

constexpr unsigned kLoopMajor = 7;
constexpr int kAttempts = 64;  // others look for a free device at the same moment

Error no_loop_devices(const Error& why) {
  return {Code::unavailable,
          str("no loop devices here (", why.what,
              "): load the module `loop`, or run the container with --device=/dev/loop-control and "
              "the loop devices; or give the engine a directory on btrfs (engine.pool)"),
          "NO_LOOP_DEVICES"};
}

std::string path_of(unsigned number) { return str("/dev/loop", number); }

Result<Fd> open_device(unsigned number) {
  std::string path = path_of(number);
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    // A /dev that the kernel does not fill, as in containers.
    if (::mknod(path.c_str(), S_IFBLK | 0600, ::makedev(kLoopMajor, number)) == 0 ||
        errno == EEXIST)
      fd.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }
  if (!fd) return sys_error(str("open ", path));
  return fd;
}

bool stands_for(int device, const struct stat& file) {
  loop_info64 info{};
  return ::ioctl(device, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == file.st_dev &&
         info.lo_inode == file.st_ino;
}

}  // namespace

Result<std::optional<LoopDevice>> find_loop_device(int file) {
  struct stat wanted{};
  if (::fstat(file, &wanted) < 0) return sys_error("look at the file");
  std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })> devices(
      ::opendir("/sys/block"));
  if (!devices) return sys_error("list block devices");
  while (dirent* entry = ::readdir(devices.get())) {
    std::string_view name = entry->d_name;
    if (!name.starts_with("loop")) continue;
    auto number = parse_int<unsigned>(name.substr(4));
    // Only one that is in use has this directory; others need not be opened.
    if (!number || ::access(str("/sys/block/", name, "/loop").c_str(), F_OK) < 0) continue;
    auto fd = open_device(*number);
    if (fd && stands_for(fd->get(), wanted)) return LoopDevice{path_of(*number), std::move(*fd)};
  }
  return std::optional<LoopDevice>();
}

Result<LoopDevice> attach_loop_device(int file) {
  Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) return no_loop_devices(sys_error("open /dev/loop-control"));
  // Without a second copy of everything in the page cache, where the file system below can do that.
  std::uint32_t flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return no_loop_devices(sys_error("get a free loop device"));
    auto device = open_device(static_cast<unsigned>(number));
    if (!device) return no_loop_devices(device.error());
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(file);
    config.info.lo_flags = flags;
    if (::ioctl(device->get(), LOOP_CONFIGURE, &config) == 0)
      return LoopDevice{path_of(static_cast<unsigned>(number)), std::move(*device)};
    if (errno == EINVAL && (flags & LO_FLAGS_DIRECT_IO)) {
      flags &= ~std::uint32_t{LO_FLAGS_DIRECT_IO};
    } else if (errno != EBUSY) {  // EBUSY: somebody was faster
      return sys_error(str("set up ", path_of(static_cast<unsigned>(number))));
    }
  }
  return Error{Code::exhausted, "no loop device stays free long enough to be set up"};
}

Result<void> reread_size(const LoopDevice& device) {
  if (::ioctl(device.fd.get(), LOOP_SET_CAPACITY, 0) < 0)
    return sys_error(str("new size of ", device.path));
  return ok;
}

}  // namespace glovebox::sys
