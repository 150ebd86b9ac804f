// The pieces image_host.cc puts together. Each takes the places it reads from, so that a test can
// bring a machine of its own.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::engine {

// Directories, links and made-up files of an empty machine, below `root` (there already). `host` is
// where the machine's own root is ("" for the real one): of it only the links that say /usr is
// merged are looked at.
Result<void> write_skeleton(const std::string& host, const std::string& root);

// Copies what programs want to find in /etc and nobody keeps secrets in: listed names,
// world-readable, owned by root.
Result<void> copy_etc(const std::string& host_etc, const std::string& etc);

// The loader's cache without the entries outside /lib* and /usr/lib*; empty if it is not of a form
// we know.
std::string filter_ld_cache(std::string_view cache);

// An overlay layer for above `usr`: a whiteout for all that is not for everybody to read, and an
// empty `local`.
Result<void> write_usr_mask(const std::string& usr, const std::string& mask);

}  // namespace glovebox::engine
