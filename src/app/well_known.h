// What the variables of other programs (ANTHROPIC_…) mean for a start of ours. They are looked at
// once, by the command a person typed; parts are told what follows from them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/config.h"
#include "base/secret.h"

namespace glovebox::app {

struct WellKnown {
  bool hosted = false;  // the queue is somebody else's: there is no brain here
  // By the names of key files, which they beat: "environment", "model"; "headers", form-encoded to
  // be one word, are the lines of ANTHROPIC_CUSTOM_HEADERS, which may hold credentials too.
  std::map<std::string, Secret, std::less<>> keys;
};

// ANTHROPIC_ENVIRONMENT_KEY: work comes from the queue at ANTHROPIC_BASE_URL (else the hosted
// service's), environment ANTHROPIC_ENVIRONMENT_ID. Without it ANTHROPIC_API_KEY is the model's key
// and ANTHROPIC_BASE_URL the model's URL, unless they are a Glovebox's own, as `glovebox env` sets
// them. A model URL that is our own brain is refused. Settings of ours that name a URL or an
// environment win.
Result<WellKnown> take_well_known(Config& config, const cli::Environment& env);

// A key that a Glovebox made: never sent to a model.
bool is_own_key(std::string_view key);

// These variables' values, overwritten in this process: they could be read in /proc.
void forget_secrets_of_environment();

}  // namespace glovebox::app
