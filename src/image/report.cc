#include "image/report.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace glovebox::image {

namespace {
constexpr std::uint64_t kLookEvery = 16 << 20;  // bytes between two looks at the free space
constexpr std::uint64_t kTellEvery = 4 << 20;
constexpr std::uint64_t kEntryBytes = 4096;  // what one entry counts for in both
constexpr std::uint64_t kMaxNotes = 20;
constexpr std::size_t kMaxText = 500;
}  // namespace

void Report::set_limits(Limits limits, int tree) {
  limits_ = limits;
  tree_ = tree;
  if (tree >= 0) free_before_ = free_now();
}

std::uint64_t Report::free_now() const {
  struct statvfs info{};
  return ::fstatvfs(tree_, &info) < 0 ? 0 : info.f_bavail * info.f_frsize;
}

Result<void> Report::add_bytes(std::uint64_t n) {
  if (n > limits_.bytes - std::min(bytes_, limits_.bytes))
    return Error{Code::too_large, str("it unpacks to more than ", limits_.bytes, " bytes")};
  bytes_ += n;
  return check_room();
}

Result<void> Report::check_length(std::uint64_t n) const {
  if (n <= limits_.bytes) return ok;
  return Error{Code::too_large, str("it is longer than ", limits_.bytes, " bytes")};
}

Result<void> Report::add_entry() {
  if (++entries_ > limits_.entries)
    return Error{Code::too_large, str("it has more than ", limits_.entries, " entries")};
  return check_room();
}

Result<void> Report::check_room() {
  std::uint64_t passed = bytes_ + entries_ * kEntryBytes;
  if (passed - told_at_ >= kTellEvery) {
    told_at_ = passed;
    line(str("at ", bytes_, " ", entries_));
  }
  if (tree_ < 0 || passed - looked_at_ < kLookEvery) return ok;
  looked_at_ = passed;
  // What is not on the disk yet, the file system counts as free.
  const std::uint64_t left = std::min(free_now(), free_before_ - std::min(free_before_, passed));
  if (left < limits_.reserve)
    return Error{Code::exhausted, "the disk is full but for its reserve", "DISK_FULL"};
  return ok;
}

void Report::note(std::string_view text) {
  if (++notes_ <= kMaxNotes) line(str("note ", text.substr(0, kMaxText)));
}
void Report::done(std::string_view text) {
  line(str("done ", bytes_, " ", entries_, " ", text.substr(0, kMaxText)));
}
void Report::error(const Error& error) {
  line(str("error ", error.code, " ", std::string_view(error.what).substr(0, kMaxText)));
}

void Report::line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  text += '\n';
  for (std::string_view rest = text; !rest.empty();) {
    ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(5);  // nobody listens any more
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace glovebox::image
