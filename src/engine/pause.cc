// The freezer: a box's processes stand still, and go on as if nothing had been. The hand is never
// frozen, so its connections live.

#include "base/fault.h"
#include "base/log.h"
#include "engine/core.h"
#include "net/task.h"

namespace glovebox::engine {

namespace {

using Groups = std::shared_ptr<sys::BoxCgroups>;

Result<Groups> groups_of(const sys::CgroupRoots& roots, const std::string& prefix,
                         const std::string& id) {
  TRY(found, sys::BoxCgroups::find(roots, prefix, id));
  if (!found) return Error{Code::gone, str("the control groups of ", id, " are gone")};
  return std::make_shared<sys::BoxCgroups>(std::move(*found));
}

}  // namespace

Task<void> Core::freeze(std::shared_ptr<Box> box, Millis limit) {
  CO_TRY(groups, groups_of(cgroups, prefix, box->record.id));
  box->life.frozen = true;  // from the first moment on: who comes now must thaw it
  std::function<Result<void>()> freezing = [groups, limit] { return groups->freeze(true, limit); };
  co_return co_await freezers.freezing.run(std::move(freezing));
}

Task<void> Core::thaw(std::shared_ptr<Box> box) {
  CO_TRY(groups, groups_of(cgroups, prefix, box->record.id));
  std::function<Result<void>()> thawing = [groups] { return groups->thaw(); };
  CO_TRY_DO(co_await freezers.thawing.run(std::move(thawing)), "thaw");
  box->life.frozen = false;
  if (box->record.status == wire::State::running) box->record.tier = kActive;
  co_return ok;
}

// The memory of a box that sleeps is the system's to use. In steps: a box that is wanted again
// waits for none of it, and the rest is not pushed out under its feet.
Task<void> Core::give_back_memory(std::shared_ptr<Box> box) {
  CO_TRY(groups, groups_of(cgroups, prefix, box->record.id));
  auto more = std::make_shared<bool>(true);
  while (*more && !closing && box->record.status == wire::State::suspended) {
    std::function<Result<void>()> step = [groups, more]() -> Result<void> {
      TRY(left, groups->give_back_memory());
      *more = left;
      return ok;
    };
    CO_TRY_DO(co_await freezers.reclaiming.run(std::move(step)), "memory of ", box->record.id);
  }
  co_return ok;
}

}  // namespace glovebox::engine
