// A directory as a tar stream and back: what travels when a tree is copied. The stream that comes
// out of a sandbox is hostile.
#pragma once

#include <string>

#include "base/error.h"

namespace glovebox::cli {

// All below `dir`, links as links, owned by root: the sandbox's user. Blocking.
Result<void> pack_tree(const std::string& dir, int to);
// Into `dir`, which is there: files, directories and links, as ours, without set-user-id bits.
// Nothing outside of it is written, whatever the names and links in the stream; what is no file,
// directory or link is left out, and counted. Reads the stream to its end, whatever it was worth.
// Blocking.
struct Unpacked {
  std::size_t files = 0, left_out = 0;
};
// Links with an absolute target or a ".." in it are harmless to us, and not to who opens them
// later.
enum class Links { all, downwards };
Result<Unpacked> unpack_tree(int from, const std::string& dir, Links links = Links::all);

}  // namespace glovebox::cli
