// One orchestrator per environment on a machine: two would take each other's work. A lock of the
// kernel's on a file, so that it ends with its process, however that ends.
#pragma once

#include <string>

#include "base/error.h"
#include "base/fd.h"

namespace glovebox::orchestrator {

class EnvironmentLock {
 public:
  // Code::conflict where another process has it; the error says which.
  static Result<EnvironmentLock> take(const std::string& directory, const std::string& environment);

 private:
  explicit EnvironmentLock(Fd file) : file_(std::move(file)) {}
  Fd file_;
};

}  // namespace glovebox::orchestrator
