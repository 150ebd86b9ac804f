// A folder as a tar, piece by piece, without what its .dockerignore names. Regular files, folders
// and links; anything else is refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::cli {

// Lines of a .dockerignore: patterns with '*', '?', '[…]' and '**', '!' takes back; the last that
// fits has the say.
class IgnoreList {
 public:
  static IgnoreList parse(std::string_view text);
  bool ignores(const std::string& path) const;
  bool takes_back() const {
    return takes_back_;
  }  // there is a '!': ignored folders are looked into

 private:
  struct Rule {
    std::vector<std::string> parts;
    bool back = false;
  };
  std::vector<Rule> rules_;
  bool takes_back_ = false;
};

class FolderTar {
 public:
  static Result<FolderTar> open(const std::string& folder);
  Result<std::string> read();  // empty at the end

 private:
  Result<void> begin(const std::string& path, std::string& out);
  std::string root_;
  IgnoreList ignored_;
  std::vector<std::string> waiting_;  // paths below the folder, the next one last
  Fd file_;                           // of which `left_` bytes are still to come
  std::uint64_t left_ = 0, padding_ = 0;
  bool ended_ = false;
};

}  // namespace glovebox::cli
