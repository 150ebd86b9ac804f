// What the boxes use at this moment. Only looks.

#include <algorithm>

#include "engine/core.h"
#include "net/task.h"

namespace glovebox::engine {

Task<std::vector<SandboxUsage>> Core::usage() {
  auto found = std::make_shared<std::vector<SandboxUsage>>();
  for (const auto& [id, box] : boxes) {
    SandboxUsage entry;
    entry.record = box->record;
    entry.in_use = box->life.uses > 0;
    entry.last_activity_ms = last_activity_ms(*box);
    found->push_back(std::move(entry));
  }
  std::function<Result<void>()> look = [this, found]() -> Result<void> {
    for (SandboxUsage& entry : *found) {
      if (auto used = storage->used_by_upper(entry.record.id))
        entry.disk_bytes = static_cast<std::int64_t>(*used);
      // One that ends meanwhile has nothing to tell.
      auto groups = sys::BoxCgroups::find(cgroups, prefix, entry.record.id);
      if (!groups || !*groups) continue;
      auto usage = (*groups)->usage();
      if (!usage) continue;
      entry.cpu_ms = usage->cpu_us / 1000;
      entry.memory_bytes = usage->memory_bytes;
      entry.pids = usage->pids;
    }
    return ok;
  };
  CO_TRY_DO(co_await pool.run(std::move(look)));
  co_return std::move(*found);
}

}  // namespace glovebox::engine
