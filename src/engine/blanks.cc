// Blanks: boxes of the default image made ahead up to the point where they must be told what they
// are. Making one is slow (a network namespace, control groups, the views of /proc and /dev),
// claiming one is not.

#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/log.h"
#include "base/metrics.h"
#include "engine/core.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::engine {

static metrics::Gauge blanks_ready("engine_blanks", "Boxes made ahead.");

constexpr const char* kResolvConf =
    "nameserver 127.0.0.53\noptions edns0\n";  // see resolver_link.h
constexpr Millis kLull{20};

Result<uid_t> Core::take_range() {
  for (int round = 0; round < 2; ++round) {
    for (uid_t base : claims->ranges())
      if (ranges_taken.insert(base).second) return base;
    TRY_DO(claims->extend());
  }
  return Error{Code::exhausted, "no range of user ids is free"};
}

namespace {

// Written where a tenant may have left anything, but nobody is there now: whatever has the name
// goes, and no link is followed.
Result<void> write_fresh(int dir, const char* name, std::string_view text) {
  TRY_DO(sys::remove_tree(dir, name), "replace ", name);
  Fd file(::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file || ::fchmod(file.get(), 0644) < 0 || ::write(file.get(), text.data(), text.size()) < 0)
    return sys_error(str("write ", name));
  return ok;
}

// Programs that look their own name up must find it without asking anybody, and no two boxes may
// take each other for the same machine. A snapshot without /etc has no identity to pass on.
Result<void> write_identity(int upper, const std::string& instance, const std::string& id) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  Fd etc(static_cast<int>(::syscall(SYS_openat2, upper, "u/etc", &how, sizeof how)));
  if (!etc) return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? ok : sys_error("u/etc");
  TRY_DO(write_fresh(etc.get(), "hostname", id + "\n"));
  TRY_DO(write_fresh(etc.get(), "hosts", wire::hosts_file(id)));
  TRY_DO(write_fresh(etc.get(), "resolv.conf", kResolvConf));
  // Of the box's id, so that it stays the same through a rollback.
  unsigned char digest[32];
  std::string of = str("glovebox machine ", instance, " ", id);
  ::SHA256(reinterpret_cast<const unsigned char*>(of.data()), of.size(), digest);
  return write_fresh(etc.get(), "machine-id", hex(std::span(digest, 16)) + "\n");
}

}  // namespace

Result<void> Core::make_files(const std::string& id, const BoxPlan& plan) const {
  const std::string& upper_of = plan.image->upper;
  const bool fresh = plan.snapshot.empty() && upper_of.empty();
  if (fresh) {
    TRY_DO(storage->make_upper(id));
    // What a copy brings may be more than that, where a quota counts it.
    TRY_DO(storage->limit_upper(id, wire::Resources().disk_mb), "disk limit");
  } else if (!plan.snapshot.empty()) {
    if (plan.copied_for.empty()) TRY_DO(storage->copy_upper(id, plan.snapshot));
  } else {
    TRY_DO(storage->copy_tree(id, upper_of));
  }
  TRY(upper, storage->open_upper(id));
  if (fresh &&
      (::mkdirat(upper.get(), "u/etc", 0755) < 0 || ::fchmodat(upper.get(), "u/etc", 0755, 0) < 0))
    return sys_error("make u/etc");
  // What an image laid over the machine's own may not have touched.
  if (!upper_of.empty() && ::mkdirat(upper.get(), "u/etc", 0755) < 0 && errno != EEXIST)
    return sys_error("make u/etc");
  return write_identity(upper.get(), instance, id);
}

Task<void> Core::prepare(Blank blank, BoxPlan of, bool spare) {
  wire::PrepareBox plan;
  plan.id = blank.id;
  plan.base = blank.base;
  plan.image_root = of.image->root;
  plan.box_dir = box_dir(blank.id);
  plan.usr_mask = of.image->usr_mask;
  plan.terms = terms_of({}, *of.image);
  plan.spare = spare;
  return launcher->prepare(std::move(plan));
}

Task<Blank> Core::make_blank(BoxPlan plan) {
  CO_TRY(base, take_range());
  Blank blank{plan.copied_for.empty() ? new_id() : plan.copied_for, base};
  // A commit of the pool can hold this up, and the loop must not wait for it.
  std::function<Result<void>()> make = [this, blank, plan] { return make_files(blank.id, plan); };
  auto made = co_await pool.run(std::move(make));
  if (made) made = co_await prepare(blank, plan, usual(plan));
  if (made) co_return blank;
  // It may exist all the same (an answer that came too late): cleaned like any box before its ids
  // are used again.
  start_cleaning(blank.id, blank.base);
  co_return std::move(made.error()).with("make a box ahead");
}

Task<Blank> Core::take_blank(BoxPlan plan, bool link) {
  link_share += ((link ? 1 : 0) - link_share) / 8;
  auto like = [&](const Blank& blank) { return network->linked(blank.id) == link; };
  auto found = std::ranges::find_if(blanks, like);
  if (found == blanks.end() && link) found = blanks.begin();  // it gets its link now
  if (!usual(plan) || found == blanks.end()) co_return co_await make_blank(std::move(plan));
  Blank blank = std::move(*found);
  blanks.erase(found);
  co_return blank;
}

Task<void> Core::keep_blanks() {
  while (!closing) {
    // Creates come first: both keep the launcher busy.
    const auto linked = lacking_blank();
    bool wanted = linked && creating == 0 && launcher && launcher->alive();
    if (!wanted) {
      CO_TRY_DO(co_await told(blanks_wanted));
      continue;
    }
    // Whoever has just got one is about to use it, and needs the processors: while there are others
    // that can wait.
    if (std::ssize(blanks) * 2 >= options.blanks) CO_TRY_DO(co_await net::sleep(kLull));
    const auto launchers = launchers_lost;
    auto blank = co_await make_blank({.image = image});
    if (!blank) {
      log::warn("engine.blank", {{"error", blank.error().what}});
      CO_TRY_DO(co_await net::sleep(1s));
      continue;
    }
    if (*linked) {
      auto made = co_await network->attach(blank->id, blank->base, usual_policy());
      if (!made) {
        log::warn("engine.blank_link", {{"error", made.error().what}});
        CO_TRY_DO(co_await net::sleep(1s));
      }
    }
    if (launchers_lost != launchers) {  // it came too late to be cleaned with the others
      start_cleaning(blank->id, blank->base);
      continue;
    }
    blanks.push_back(*blank);
    // One of the kind that is not asked for any more makes room.
    auto other = std::ranges::find_if(
        blanks, [&](const Blank& one) { return network->linked(one.id) != *linked; });
    if (std::ssize(blanks) > options.blanks && other != blanks.end()) {
      start_cleaning(other->id, other->base);
      blanks.erase(other);
    }
    blanks_ready.set(static_cast<std::int64_t>(blanks.size()));
  }
  co_return ok;
}

}  // namespace glovebox::engine
