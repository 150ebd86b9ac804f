// What a session's metadata asks of its box, within what the operator offers:
//   session.image = NAME           session.snapshot = ID
//   session.volume = per-session | NAME:/path[:ro]   (several: separated by commas)
//   session.network = none | internet
//   session.isolation = auto | namespace | gvisor | microvm
//   session.box = keep | ephemeral
//   glovebox.files, glovebox.git: wire/session_sources.h
// A session picks from what the operator named, or narrows; it never widens. Other keys are the
// application's own.
#pragma once

#include <functional>
#include <memory>

#include "orchestrator/boxes.h"
#include "orchestrator/orchestrator.h"
#include "runner/service.h"

namespace glovebox::orchestrator {

// Every session has its outputs besides. Code::forbidden: not offered.
Result<BoxWish> wish_of(const runner::Session& session, const Ceiling& ceiling);

// The same hands; but where their box cannot be had for a reason that will not pass by itself (what
// was asked for is not offered, or is not there), every call is answered with it: the session's
// events then say what is wrong, and an item that fails does not come again for ever.
// `tell` hears it once.
using Tell = std::function<Task<void>(std::string why)>;
std::shared_ptr<runner::Hands> explaining(std::shared_ptr<runner::Hands> hands, Tell tell);
std::shared_ptr<runner::Hands> refusing(Error why, Tell tell);

// A volume that outlives box and clean slate.
BoxVolume outputs_of(std::string_view session);
// The name of the volume that `per-session` is.
std::string own_volume(std::string_view session);

// Of what a session's box was to be: the same again would be refused again.
bool lasting(const Error& error);

}  // namespace glovebox::orchestrator
