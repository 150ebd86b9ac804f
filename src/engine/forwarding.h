// Passing packets on between interfaces is off on most machines. Boxes with a link need it, and
// only they are to have it: where it was off, a guard of our own refuses everybody else's packets
// from before it is turned on until after it is off again.
//
// The guard is also the note that it was off: it is one for each family, is shared by all instances
// of the machine (of the network namespace), and goes as the setting itself goes, with a reboot.
#pragma once

#include "base/error.h"

namespace glovebox::engine {

// Whether a guard stands. Once it did, one that somebody took away is put back.
struct Guards {
  bool ipv4 = false, ipv6 = false;
};

// Whoever calls these holds the machine's lock of claims.
Result<void> turn_forwarding_on(bool with_ipv6, Guards& guards);
Result<void> turn_forwarding_back();  // nobody needs it any more

}  // namespace glovebox::engine
