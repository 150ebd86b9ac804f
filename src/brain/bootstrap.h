// What a brain has from its first start on, so that nobody has to set anything up: an environment,
// an agent, and the key of the orchestrator beside it.
#pragma once

#include "base/secret.h"
#include "brain/records.h"

namespace glovebox::brain {

// Once: whoever deletes them later does not get them back.
Result<void> make_defaults(Store& store, const std::string& model);
// `key` is from now on the one embedded key of the default environment; the one before is revoked.
Result<void> register_embedded_key(Store& store, const Secret& key);

}  // namespace glovebox::brain
