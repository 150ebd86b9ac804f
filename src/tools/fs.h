// The file system as the tools need it: every path is canonical (absolute, no symlinks, no "..")
// before anything is opened, and is then opened component by component with symlinks refused. What
// was checked is what is used: a component swapped for a link in between makes the call fail
// instead of leading it elsewhere.
#pragma once

#include <sys/stat.h>

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace glovebox::tools {

template <class T>
using Sys = std::expected<T, int>;  // the error is an errno

inline constexpr int kMaxLinks = 40;  // as Linux itself
// Entries of one directory; what is beyond is not seen.
inline constexpr std::size_t kMaxListing = 1'000'000;

// "no such file or directory": the words a model sees, never a path of the host.
std::string reason(int error);

// Joined; ".", ".." and "//" are folded as text.
std::string absolute(std::string_view base, std::string_view path);
// Every link followed; what does not exist is kept as it is.
Sys<std::string> canonical(std::string_view absolute);
bool is_within(std::string_view root, std::string_view path);  // both canonical
std::string parent_of(std::string_view path);
std::string name_of(std::string_view path);  // "." for "/"

enum class Missing { fail, create };  // create: with mode 0700
Sys<Fd> open_dir(std::string_view canonical, Missing missing = Missing::fail);  // O_PATH

// Opens `name` for reading if it is a regular file; `file` is empty when it is something else.
// Nothing else is ever opened: a FIFO would hang, a device may act.
struct Regular {
  Fd file;
  struct stat info{};
};
Sys<Regular> open_regular(int dir, const std::string& name);
Sys<Regular> open_regular(std::string_view canonical);

struct Entry {
  std::string name;
  mode_t type = 0;  // S_IFREG, S_IFDIR, S_IFLNK …
};
// Sorted by name, so that the same tree gives the same answer; without those whose names are no
// UTF-8, since no tool could be told of them.
Sys<std::vector<Entry>> list_dir(int dir);

Sys<std::string> read_up_to(int file, std::size_t limit);

// Replaces `name` in `dir` in one step: readers see the old file or the new one, and so does
// whoever comes after a crash. A new file gets mode 0600; one that is there keeps its permission
// bits.
Sys<void> save(int dir, const std::string& name, std::string_view content);

}  // namespace glovebox::tools
