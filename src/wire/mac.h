// HMAC-SHA256: what says that we made something.
#pragma once

#include <string>
#include <string_view>

#include "base/secret.h"

namespace glovebox::wire {

// 32 bytes. Compare with equal_constant_time(); `message` begins with what it is for, so that
// nothing that is signed for one purpose passes for another.
std::string hmac_sha256(std::string_view message, const Secret& key);

}  // namespace glovebox::wire
