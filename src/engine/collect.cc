// What only boxes of before an upgrade need (of the machine: its image's earlier generations; of
// the engine: programs shown inside) goes once none of them has processes any more. A record says
// what its box was started with.

#include <sys/stat.h>

#include <filesystem>

#include "base/log.h"
#include "engine/core.h"
#include "engine/image_host.h"
#include "net/task.h"
#include "sys/tree.h"

namespace glovebox::engine {

namespace {

constexpr Millis kPause{3600s};
constexpr std::int64_t kFreshMs = 3600 * 1000;  // a place that was used just now has its box noted

Result<void> remove_other_programs(const std::string& directory,
                                   const std::set<std::string>& kept) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    struct stat info{};
    if (kept.contains(name) || ::lstat(entry.path().c_str(), &info) < 0) continue;
    const std::int64_t used = info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1'000'000;
    if (used > system_clock().unix_ms() - kFreshMs) continue;
    TRY_DO(sys::remove_tree(entry.path().string()), "programs ", name);
    log::info("inside.removed", {{"version", name}});
  }
  return ok;
}

// What nobody noted may be any of them.
bool all_known(const std::set<std::string>& needed, std::string_view what) {
  if (!needed.contains(kUnknown)) return true;
  log::info("engine.collect_later",
            {{"kept", what}, {"why", "sandboxes of an earlier version run"}});
  return false;
}

}  // namespace

Task<void> Core::collect() {
  // Processes of those that have ended may be on their way out.
  while (cleaning > 0) CO_TRY_DO(co_await told(cleaned));
  std::set<std::string> generations{image->generation}, programs;
  auto note = [&](const Box& box) {
    if (box.pid == 0) return;
    generations.insert(box.record.host_generation);
    programs.insert(box.record.inside_version);
  };
  for (const auto& [id, box] : boxes) note(*box);
  for (const auto& [id, one] : pools->all)
    for (const auto& box : one->warm) note(*box);
  std::function<Result<void>()> remove = [this, generations, programs]() -> Result<void> {
    if (all_known(generations, "images"))
      TRY_DO(remove_other_host_images(path("images"), generations),
             "earlier images of the machine");
    return all_known(programs, "inside") ? remove_other_programs(path("inside"), programs) : ok;
  };
  co_return co_await pool.run(std::move(remove));
}

Task<void> Core::keep_collecting() {
  while (!closing) {
    auto done = co_await collect();
    if (!done && done.error().code != Code::cancelled)
      log::warn("engine.collect", {{"error", done.error().what}});
    if (!co_await net::sleep(kPause)) break;  // told to stop
  }
  co_return ok;
}

}  // namespace glovebox::engine
