// What a session's metadata asks to have in its box from the start, as it is written there:
//   glovebox.files = [PATH=]SOURCE …     file_ID | https://… | volume:NAME[/PATH] | dir:NAME[/PATH]
//   glovebox.git = [PATH=]https://…[#REF] …           glovebox.git_depth = N   (0: all of it)
// Entries stand apart by white space. A value of metadata is short, so `glovebox.files.ANYTHING`
// and `glovebox.git.ANYTHING` are read as well. A PATH that ends in "/" has an archive unpacked
// into it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace glovebox::wire {

struct SessionSource {
  enum class Kind { file, url, volume, directory, git } kind = Kind::file;
  std::string what;     // the file's id, the URL, or the NAME of a volume or directory
  std::string below;    // of a volume or directory: "" is all of it
  std::string ref;      // of git: a branch, a tag or a commit; "": what its HEAD is
  std::string target;   // absolute, in the box
  bool unpack = false;  // it is an archive, and `target` the directory for what is in it
  std::string text;     // as it was written, for people
};

struct SessionSources {
  std::vector<SessionSource> all;
  int git_depth = 1;  // commits; 0: all
};

bool names_sources(std::string_view key);
// One pair of the metadata; a key that is none of these is left alone.
Result<void> add_sources(SessionSources& into, std::string_view key, std::string_view value);
// Whether the metadata (a JSON object) names that file.
bool names_file(std::string_view metadata_json, std::string_view file);

}  // namespace glovebox::wire
