// The subcommands that are clients of the public interfaces.
#pragma once

#include "cli/command.h"

namespace glovebox::cli {

extern const Command kSandboxCreate, kSandboxLs, kSandboxShow, kSandboxNetwork, kSandboxExec,
    kSandboxShell, kSandboxCp, kSandboxLogs, kSandboxRm, kSandboxPrune, kSandboxTry, kTop, kSession,
    kSessionsLs, kSessionsShow, kSessionsEvents, kSessionsSend, kSessionsConfirm,
    kSessionsInterrupt, kSessionsArchive, kSessionsRm, kWorkStats, kWorkLs, kWorkStop, kAgentCreate,
    kAgentLs, kAgentShow, kAgentArchive, kEnvironmentCreate, kEnvironmentLs, kEnvironmentShow,
    kEnvironmentKeyCreate, kEnvironmentKeyLs, kEnvironmentKeyRevoke, kEnv, kVersion;
extern const Command kSandboxSuspend, kSandboxResume;
extern const Command kSandboxPortExpose, kSandboxPortLs, kSandboxPortRm, kSandboxPortToken,
    kSandboxPortVerify;
extern const Command kPoolCreate, kPoolLs, kPoolShow, kPoolClaim, kPoolUpdate, kPoolRm;
extern const Command kSandboxFork, kSnapshotCreate, kSnapshotLs, kSnapshotShow, kSnapshotTree,
    kSnapshotExport, kSnapshotImport, kSnapshotRm, kSnapshotRollback;
extern const Command kWebhookCreate, kWebhookLs, kWebhookUpdate, kWebhookRm, kWebhookSecret,
    kWebhookDeliveries, kWebhookReplay;
extern const Command kImageImport, kImagePull, kImageBuild, kImageLs, kImageShow, kImageRm;
extern const Command kVolumeCreate, kVolumeLs, kVolumeAttach, kVolumeDetach, kVolumeRm,
    kSessionOutputs;
Commands commands();

}  // namespace glovebox::cli
