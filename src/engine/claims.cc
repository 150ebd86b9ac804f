#include "engine/claims.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sys/namespaces.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {
constexpr uid_t kBlockIds = Claims::kPerBlock * sys::kIdsPerBox;
constexpr unsigned kBlocks = (Claims::kLast - Claims::kFirst) / kBlockIds;
}  // namespace

Result<Fd> lock_claims(const std::string& directory) {
  TRY_DO(sys::make_dirs(directory, 0700));
  Fd fd(::open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return sys_error("open lock of claims");
  while (::flock(fd.get(), LOCK_EX) < 0)  // held for a few file operations by anybody
    if (errno != EINTR) return sys_error("lock claims");
  return fd;
}

Claims::Claims(std::string directory, std::string owner, std::string instance)
    : directory_(std::move(directory)), owner_(std::move(owner)), instance_(std::move(instance)) {}

std::string Claims::file(unsigned block) const {
  return str(directory_, "/uid-", kFirst + block * kBlockIds);
}

// Free, or left by an instance that is no more.
Result<bool> Claims::free_to_take(const std::string& path) const {
  auto claim = sys::read_file(path, 8192);
  if (!claim && claim.error().code == Code::not_found) return true;
  if (!claim) return std::move(claim).error();
  auto words = split(*claim, '\n');
  if (words.size() < 2) return true;  // torn by a crash before it meant anything
  auto there = sys::read_file(words[1] + "/instance", 256);
  return !there || trim(*there) != words[0];
}

Result<void> Claims::load() {
  TRY(held, lock_claims(directory_));
  ranges_.clear();
  for (unsigned block = 0; block < kBlocks; ++block) {
    auto claim = sys::read_file(file(block), 8192);
    if (!claim || *claim != str(instance_, "\n", owner_, "\n")) continue;
    for (unsigned i = 0; i < kPerBlock; ++i)
      ranges_.push_back(kFirst + block * kBlockIds + i * sys::kIdsPerBox);
  }
  return ok;
}

Result<void> Claims::extend() {
  TRY(held, lock_claims(directory_));
  for (unsigned block = 0; block < kBlocks; ++block) {
    TRY(free, free_to_take(file(block)));
    if (!free) continue;
    TRY_DO(sys::write_file_atomic(file(block), str(instance_, "\n", owner_, "\n"), 0600),
           "claim user ids");
    for (unsigned i = 0; i < kPerBlock; ++i)
      ranges_.push_back(kFirst + block * kBlockIds + i * sys::kIdsPerBox);
    return ok;
  }
  return Error{Code::exhausted, str("all ranges of user ids are claimed; see ", directory_)};
}

Result<void> Claims::release() {
  TRY(held, lock_claims(directory_));
  for (unsigned block = 0; block < kBlocks; ++block) {
    auto claim = sys::read_file(file(block), 8192);
    if (claim && *claim == str(instance_, "\n", owner_, "\n") && ::unlink(file(block).c_str()) < 0)
      return sys_error("release claim");
  }
  ranges_.clear();
  return ok;
}

}  // namespace glovebox::engine
