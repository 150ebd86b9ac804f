// The files of a session's work directory, wherever that is: in a box, or in a folder of this host.
#pragma once

#include <string>
#include <string_view>

#include "net/loop.h"

namespace glovebox::runner {

// One part of a path, of foreign origin: a name that leads nowhere else, and that JSON and a
// terminal carry as it is.
bool single_name(std::string_view name);

// Paths are relative to the work directory, and clean: no empty part, no "." and no "..". What is
// there was left by a tenant and may be a trap: no link is followed on the way to a path.
class Files {
 public:
  virtual ~Files() = default;
  // With those above it that are missing, all of them with mode 0700; one that is there stays.
  virtual Task<void> make_folder(std::string path) = 0;
  // A new file, in a folder that is there. The mode is exact, whatever the umask.
  virtual Task<void> write_file(std::string path, std::string content, int mode) = 0;
  virtual Task<void> remove_tree(std::string path) = 0;  // whatever it is; gone already is success
};

}  // namespace glovebox::runner
