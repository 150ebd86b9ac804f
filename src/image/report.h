// What the program tells on its standard output, one line each. Its reader (engine/image_tool.cc)
// believes none of it further than it must: the program has met hostile bytes.
//   at BYTES ENTRIES       so far, every now and then
//   note TEXT              something left out, that a person may want to know
//   done BYTES ENTRIES TEXT
//   error CODE TEXT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace glovebox::image {

class Report {
 public:
  explicit Report(int fd) : fd_(fd) {}
  // Counts what was written to the tree; refuses what is beyond the limits.
  struct Limits {
    std::uint64_t bytes = 0, entries = 0;
    std::uint64_t reserve = 0;  // bytes that stay free in the tree's file system
  };
  void set_limits(Limits limits, int tree);
  Result<void> add_bytes(std::uint64_t n);
  Result<void> check_length(std::uint64_t n) const;  // of one file, holes and all
  Result<void> add_entry();

  void note(std::string_view text);
  void done(std::string_view text = {});
  void error(const Error& error);
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t entries() const { return entries_; }

 private:
  Result<void> check_room();
  std::uint64_t free_now() const;
  void line(std::string text);
  int fd_, tree_ = -1;
  Limits limits_;
  std::uint64_t free_before_ = 0;
  std::uint64_t bytes_ = 0, entries_ = 0, looked_at_ = 0, told_at_ = 0, notes_ = 0;
};

}  // namespace glovebox::image
