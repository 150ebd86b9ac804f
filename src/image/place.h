// A tree that is being filled, by the descriptor of its root. Paths in it come from strangers and
// are looked up by the kernel with this root as the end of the world: "..", absolute links and
// links that change meanwhile lead nowhere else.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::image {

// A member's name as a path below the root: "./a//b/" is "a/b", the root itself is "". Refused:
// absolute ones, "..", and what no file system takes.
Result<std::string> clean_path(std::string_view name);

struct Split {
  std::string parent, base;
};
Split split_path(const std::string& path);  // "a/b/c": "a/b" and "c"
// Sorted, so that the same tree gives the same list.
Result<std::vector<std::string>> names_in(int directory);

class Place {
 public:
  explicit Place(int root) : root_(root) {}
  int root() const { return root_; }

  // The directory `path`, borrowed until the next call; links on the way are followed inside the
  // root. What is missing is made with `mode`, if that is not 0.
  Result<int> directory(const std::string& path, mode_t make_mode = 0);
  // Whatever stands at `parent`/`base` goes, a whole tree too.
  Result<void> clear(int parent, const std::string& base);
  // Links and directories found so far may have become something else.
  void forget();
  // Opened without following a link at the end.
  Result<Fd> open(const std::string& path, int flags);

 private:
  Result<Fd> look_up(const std::string& path);
  Result<Fd> make(const std::string& path, mode_t mode);
  int root_;
  std::string last_path_;
  Fd last_;
};

}  // namespace glovebox::image
