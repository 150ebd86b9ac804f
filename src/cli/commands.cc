#include "cli/commands.h"

namespace glovebox::cli {

Commands commands() {
  static constexpr const Command* kAll[] = {&kSession,
                                            &kSessionsLs,
                                            &kSessionsShow,
                                            &kSessionsEvents,
                                            &kSessionsSend,
                                            &kSessionsConfirm,
                                            &kSessionsInterrupt,
                                            &kSessionsArchive,
                                            &kSessionsRm,
                                            &kAgentCreate,
                                            &kAgentLs,
                                            &kAgentShow,
                                            &kAgentArchive,
                                            &kEnvironmentCreate,
                                            &kEnvironmentLs,
                                            &kEnvironmentShow,
                                            &kEnvironmentKeyCreate,
                                            &kEnvironmentKeyLs,
                                            &kEnvironmentKeyRevoke,
                                            &kWorkStats,
                                            &kWorkLs,
                                            &kWorkStop,
                                            &kSandboxCreate,
                                            &kSandboxLs,
                                            &kSandboxShow,
                                            &kSandboxNetwork,
                                            &kSandboxExec,
                                            &kSandboxShell,
                                            &kSandboxCp,
                                            &kSandboxLogs,
                                            &kSandboxRm,
                                            &kTop,
                                            &kSandboxSuspend,
                                            &kSandboxResume,
                                            &kPoolCreate,
                                            &kPoolLs,
                                            &kPoolShow,
                                            &kPoolClaim,
                                            &kPoolUpdate,
                                            &kPoolRm,
                                            &kEnv,
                                            &kVersion};
  return kAll;
}

}  // namespace glovebox::cli
