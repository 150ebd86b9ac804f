#include "runner/hands.h"

#include "net/task.h"

namespace glovebox::runner {

Task<void> Hands::open() { co_return ok; }

}  // namespace glovebox::runner
