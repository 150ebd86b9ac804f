// The subcommands that are clients of the public interfaces.
#pragma once

#include "cli/command.h"

namespace glovebox::cli {

extern const Command kSandboxCreate, kSandboxLs, kSandboxShow, kSandboxExec, kSandboxShell,
    kSandboxCp, kSandboxRm, kEnv, kVersion;
Commands commands();

}  // namespace glovebox::cli
