#include "gateway/replay_memory.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <cstring>

#include "base/log.h"
#include "sys/tree.h"

namespace glovebox::gateway {

namespace {

constexpr char kIn = '+', kOut = '-';
constexpr std::size_t kEntry = 1 + std::tuple_size_v<ReplayMemory::Key>;

}  // namespace

std::size_t ReplayMemory::Hash::operator()(const Key& key) const {
  std::size_t hash;  // of a hash: any part of it will do
  std::memcpy(&hash, key.data(), sizeof hash);
  return hash;
}

ReplayMemory::Key ReplayMemory::key_of(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  Key key;
  std::memcpy(key.data(), digest, key.size());
  return key;
}

Result<ReplayMemory> ReplayMemory::open(Options options, Clock& clock) {
  ReplayMemory memory(std::move(options), clock);
  TRY_DO(memory.load(), "what was let in before");
  return memory;
}

// Both files become the old one: when each entry came is not known any more, so all of them get a
// whole window.
Result<void> ReplayMemory::load() {
  young_since_ms_ = clock_->unix_ms();
  if (options_.path.empty()) return ok;
  load_file(options_.path + ".old");
  load_file(options_.path);
  std::string all;
  for (const Key& key : old_) all.append(1, kIn).append(key.data(), key.size());
  TRY_DO(sys::write_file_atomic(options_.path + ".old", all, 0600));
  file_.reset(::open(options_.path.c_str(),
                     O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return sys_error(options_.path);
  return ok;
}

void ReplayMemory::load_file(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) < 0) return;
  if (info.st_mtim.tv_sec < clock_->unix_ms() / 1000 - options_.window.count()) return;
  auto text = sys::read_file(path, 2 * (options_.most + 1) * kEntry);
  if (!text) {
    log::warn("ingress.replay_memory", {{"error", text.error().what}});
    return;
  }
  // What a death cut short at the end was not let in: noted first, let in second.
  for (std::size_t at = 0; at + kEntry <= text->size(); at += kEntry) {
    Key key;
    std::memcpy(key.data(), text->data() + at + 1, key.size());
    if ((*text)[at] == kIn)
      old_.insert(key);
    else
      old_.erase(key);
  }
}

void ReplayMemory::grow_old() {
  if (clock_->unix_ms() - young_since_ms_ < Millis(options_.window).count()) return;
  old_ = std::move(young_);
  young_ = {};
  young_since_ms_ = clock_->unix_ms();
  if (options_.path.empty()) return;
  ::rename(options_.path.c_str(), (options_.path + ".old").c_str());
  file_.reset(::open(options_.path.c_str(),
                     O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
}

// A full disk is no reason to refuse what is genuine: only a kill would forget it.
void ReplayMemory::note(char what, const Key& key) {
  if (options_.path.empty()) return;
  std::string entry = std::string(1, what).append(key.data(), key.size());
  bool written = file_ && ::write(file_.get(), entry.data(), entry.size()) ==
                              static_cast<ssize_t>(entry.size());
  if (!written && !complained_)
    log::warn("ingress.replay_memory", {{"error", sys_error(options_.path).what}});
  complained_ = !written;
}

Result<void> ReplayMemory::remember(const Key& key) {
  grow_old();
  if (young_.contains(key) || old_.contains(key)) return Error{Code::conflict, "seen before"};
  if (young_.size() >= options_.most) return Error{Code::exhausted, "too many to remember"};
  note(kIn, key);
  young_.insert(key);
  return ok;
}

void ReplayMemory::forget(const Key& key) {
  if (young_.erase(key) + old_.erase(key) > 0) note(kOut, key);
}

}  // namespace glovebox::gateway
