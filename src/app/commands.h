// The subcommands that run parts, or look at the machine; with those of `cli` they are all of the
// program.
#pragma once

#include "cli/command.h"

namespace glovebox::app {

extern const cli::Command kUp, kDown, kStatus, kDoctor, kSupervise, kEngineDaemon, kBrainDaemon,
    kOrchestratorDaemon, kUplinkDaemon, kResolverDaemon, kIngressDaemon, kProbe, kOrchestrate,
    kPrune, kCompletion, kWorkerPoll, kWorkerRun, kReceive, kCa, kSettings;
cli::Commands all_commands();

}  // namespace glovebox::app
