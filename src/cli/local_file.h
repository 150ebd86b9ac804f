// The local end of a copy: read or written in pieces; a new file appears under its name only once
// it is complete.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::cli {

// "NAME:/path" is in a box, anything else here; "-" is stdin or stdout. A local path with a colon
// is written "./a:b".
struct CopyEnd {
  std::string box;   // empty: here
  std::string path;  // "-": a stream
  bool is_stream() const { return box.empty() && path == "-"; }
};
Result<CopyEnd> parse_copy_end(std::string_view text);
std::string base_name(std::string_view path);

class SourceFile {
 public:
  static Result<SourceFile> open(const CopyEnd& end);
  Result<std::string> read();                                      // empty at the end
  std::optional<std::uint64_t> length() const { return length_; }  // unknown for pipes

 private:
  Fd fd_;
  std::optional<std::uint64_t> length_;
};

class TargetFile {
 public:
  // `name` is used where the path is a directory.
  static Result<TargetFile> create(const CopyEnd& end, const std::string& name);
  TargetFile(TargetFile&&) noexcept = default;
  ~TargetFile();  // uncommitted: as if nothing had been
  Result<void> write(std::string_view bytes);
  Result<void> commit();

 private:
  TargetFile() = default;
  Fd fd_;
  std::string path_;  // to appear at; empty: written in place (a device, a pipe, stdout)
  std::string part_;  // its name until then; empty: it has none yet
};

}  // namespace glovebox::cli
