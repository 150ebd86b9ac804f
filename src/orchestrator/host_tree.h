// A directory of this host that the operator named for sessions: which files it holds, and their
// bytes. No link is followed, so nothing beside it is ever read. All of this blocks.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::orchestrator {

struct HostFile {
  std::string path;  // below the tree; "" where that is a file itself
  bool executable = false;
};

class HostTree {
 public:
  // `below` is a clean path in the directory, or "".
  static Result<HostTree> open(const std::string& directory, const std::string& below);
  bool is_file() const { return is_file_; }
  const std::vector<HostFile>& files() const { return files_; }
  Result<Fd> file(const std::string& path) const;

 private:
  Fd root_;  // the directory
  std::string below_;
  bool is_file_ = false;
  std::vector<HostFile> files_;
};

}  // namespace glovebox::orchestrator
