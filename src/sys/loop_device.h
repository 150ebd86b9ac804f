// A file as a block device. The device frees itself once nobody uses it any more: what is mounted
// from it holds it, so it lasts exactly as long as the last mount, through any kill -9.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::sys {

struct LoopDevice {
  std::string path;
  Fd fd;  // holds the device until something is mounted from it
};
// The device that stands for this file, if there is one.
Result<std::optional<LoopDevice>> find_loop_device(int file);
// A free one, set up for this file (open for writing). Code::unavailable, and how to get them,
// where there are no loop devices. Never two for one file: look first, and be alone.
Result<LoopDevice> attach_loop_device(int file);
// The file has changed its size.
Result<void> reread_size(const LoopDevice& device);

}  // namespace glovebox::sys
