// Points where a test may make the program fail, or die as by kill -9, at each durable step.
//   FAULT("create.after_row");             // in a function returning Result or Error
// GLOVEBOX_FAULT=create.after_row:kill      dies there; :fail returns an error; :fail@3 at the
// third passing only. Without the variable a point costs one load and a branch.
#pragma once

#include <string_view>

#include "base/error.h"

namespace glovebox {

Result<void> fault(std::string_view point);

}  // namespace glovebox

#define FAULT(point) TRY_DO(::glovebox::fault(point))
#define CO_FAULT(point) CO_TRY_DO(::glovebox::fault(point))
