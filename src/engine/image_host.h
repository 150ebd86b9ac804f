// The image `host`: this machine's programs under a made-up system. Nothing is downloaded and
// nothing of the machine but its world-readable /usr, and a short list of world-readable names in
// /etc, is in it.
#pragma once

#include <set>
#include <string>

#include "base/error.h"

namespace glovebox::engine {

struct HostImage {
  std::string dir;  // dir/root: the lowest layer of every box; dir/usr-mask: the overlay layer
                    // above the machine's /usr
  std::string generation;  // names the programs this image was built of
};
// Finds the image of the machine as it is now below `images_dir` (ours alone), or builds it: in a
// temporary directory, then renamed, so what has its final name is whole. What an interrupted build
// left is removed. One caller at a time. Slow (a walk over /usr): for a blocking thread. `host` is
// where the machine's root is, for tests.
Result<HostImage> build_host_image(const std::string& images_dir, const std::string& host = "");
// Those of other generations than these go. Blocks.
Result<void> remove_other_host_images(const std::string& images_dir,
                                      const std::set<std::string>& generations);

}  // namespace glovebox::engine
