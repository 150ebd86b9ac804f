#include "app/commands.h"

#include <vector>

#include "cli/commands.h"

namespace glovebox::app {

cli::Commands all_commands() {
  static const std::vector<const cli::Command*> kAll = [] {
    std::vector<const cli::Command*> all{&kUp, &kDown, &kStatus, &kDoctor};
    auto clients = cli::commands();
    all.insert(all.end(), clients.begin(), clients.end());
    for (const cli::Command* rare :
         {&kWorkerPoll, &kWorkerRun, &kOrchestrate, &kSettings, &kCa, &kPrune, &kCompletion})
      all.push_back(rare);
    for (const cli::Command* internal :
         {&kSupervise, &kEngineDaemon, &kBrainDaemon, &kOrchestratorDaemon, &kUplinkDaemon,
          &kIngressDaemon, &kResolverDaemon, &kProbe})
      all.push_back(internal);
    return all;
  }();
  return kAll;
}

}  // namespace glovebox::app
