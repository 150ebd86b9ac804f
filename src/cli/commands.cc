#include "cli/commands.h"

namespace glovebox::cli {

Commands commands() {
  static constexpr const Command* kAll[] = {&kSandboxCreate, &kSandboxLs,    &kSandboxShow,
                                            &kSandboxExec,   &kSandboxShell, &kSandboxCp,
                                            &kSandboxRm,     &kEnv,          &kVersion};
  return kAll;
}

}  // namespace glovebox::cli
